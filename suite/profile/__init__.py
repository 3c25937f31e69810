"""What a network costs: MACs, parameters, bytes, latency."""

from suite.profile.cost import Cost as Cost
from suite.profile.cost import count as count
