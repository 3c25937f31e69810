"""The kernel against other engines: networks and peers to time, the benchmark, and its page."""
