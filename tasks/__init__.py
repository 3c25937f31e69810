"""One file per task; see README.md."""
