"""Scenes of colour alone: clips of videos, and lists of images that training records name."""
