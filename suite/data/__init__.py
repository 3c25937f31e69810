"""Readers of official data layouts; `embedded` holds the generators of the data that stands in where a user has none."""
