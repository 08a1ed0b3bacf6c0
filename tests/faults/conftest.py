"""Tools run as a user runs them, and what they leave: the fixtures of tool_runs.py."""

from cell_runs import cell_run
from tool_runs import baseline, finished, prune, refused, same_run, tiny, tool

__all__ = ["baseline", "cell_run", "finished", "prune", "refused", "same_run", "tiny", "tool"]
