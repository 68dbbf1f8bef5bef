"""Distillation of a teacher's features into the student's hidden states."""
