"""Shipped fakes for tests of pages."""
