"""Where frames come from, and their geometry. A file or folder per kind of source."""
