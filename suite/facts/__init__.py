"""What `suite info` tells of a name: a module for each kind of thing, `method`, `task`, `network` and `report`.

Each has ``facts(...)``, a dictionary that JSON can hold, and ``sections(facts)``, the same for people to read.
"""
