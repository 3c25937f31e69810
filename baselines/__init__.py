"""One file per method; see README.md."""
