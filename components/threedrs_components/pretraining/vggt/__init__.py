"""What trains a micro VGGT."""
