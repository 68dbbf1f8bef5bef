"""The work behind `prepare`, `extract` and `probe`, on folders of scenes."""
