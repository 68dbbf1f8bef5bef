"""What trains a micro MAE."""
