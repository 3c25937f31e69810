"""Contract tests over plug-ins, ours and anybody's: what ``suite check PATH`` runs."""

from suite.testing.contract import Problem, check_method, check_task, fit_once

__all__ = ["Problem", "check_method", "check_task", "fit_once"]
