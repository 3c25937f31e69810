"""The files of users' networks, each under its digest, as they were when a network was made by them.

A cached network is unpickled by importing its class from here, whatever has become of the file since. Files may import modules of
the folder that the command is called in.
"""

import sys

from suite.paths import cache_folder

__path__ = [str(cache_folder() / "networks")]
if "" not in sys.path:
    sys.path.append("")
