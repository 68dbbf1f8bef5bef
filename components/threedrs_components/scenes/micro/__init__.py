"""The micro world: rendered rooms with objects, language and benchmark annotations."""
