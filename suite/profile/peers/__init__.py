"""Other engines for the same network: what the kernel's latency is compared with.

Each peer gets the network with its batch normalisation folded, in its own favourite layout, with as many threads as the
plan, and with float32 arithmetic asked for by name; the one row of another precision says so. Its output is compared with
torch's before it is timed. Peers are optional (``pip install 'suite[peers]'``) and imported where they are used.
"""

from suite.profile.peers.engines import OPENVINO as OPENVINO
from suite.profile.peers.engines import PEERS as PEERS
from suite.profile.peers.engines import Model as Model
from suite.profile.peers.engines import Peer as Peer
from suite.profile.peers.race import Race as Race
from suite.profile.peers.race import race as race
