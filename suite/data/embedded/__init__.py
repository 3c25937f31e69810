"""Generators of the embedded data, which stand in where a user has none: the same bytes on every machine. They know no reader."""
