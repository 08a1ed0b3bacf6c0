"""Tools run as a user runs them, and what they leave: the fixtures of tool_runs.py."""

from table_runs import going, run_folder, searched, table_file, timer
from tool_runs import baseline, finished, prune, refused, same_network, same_run, tiny, tool, tuned

__all__ = [
    "baseline",
    "finished",
    "going",
    "prune",
    "refused",
    "run_folder",
    "same_network",
    "same_run",
    "searched",
    "table_file",
    "timer",
    "tiny",
    "tool",
    "tuned",
]
