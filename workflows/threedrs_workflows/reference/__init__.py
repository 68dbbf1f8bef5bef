"""The reference of the documentation, written from the code: settings, verbs, files, words."""
