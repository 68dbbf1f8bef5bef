"""Where frames come from, and their geometry."""
