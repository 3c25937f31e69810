"""The suite: a benchmark for efficient computer vision whose numbers can be repeated.

Start reading at :mod:`suite.contract`; the straight line from a command to a table is
``cli -> plugins -> options -> plan -> runner -> tracking -> report``.
"""

__version__ = "0.1.0"
