"""What micro models learn before an experiment: teachers, and the student's 2D start."""
