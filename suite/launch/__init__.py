"""Where runs are executed: one after the other, or several processes side by side."""

from suite.launch.display import Shown as Shown
from suite.launch.processes import launch as launch
