"""Trained students asked by people: how one is shown scenes and asked, and what it answers."""
