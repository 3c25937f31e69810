"""What a network costs: MACs, parameters, bytes, latency."""

from suite.profile.latency import call_latency as call_latency
from suite.profile.latency import measure as measure
from suite.profile.latency import network_latency as network_latency
from suite.profile.machine import commit as commit
from suite.profile.machine import machine as machine
from suite.profile.machine import packages as packages
from suite.profile.probe import Measured as Measured
from suite.profile.probe import costs as costs
from suite.profile.probe import timing as timing
