"""Runs with a latency table that is made up: the fixtures of table_runs.py."""

from table_runs import going, run_folder, searched, table_file, timer

__all__ = ["going", "run_folder", "searched", "table_file", "timer"]
