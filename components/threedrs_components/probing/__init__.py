"""Correspondence scores, position probe and quartile analysis."""
