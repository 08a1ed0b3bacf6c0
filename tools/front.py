"""Prune a trained network under several budgets with one search: accuracy against latency, MACs and parameters."""

import sys
from pathlib import Path

# The checkout's library, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compress.commands import run_command

if __name__ == "__main__":
    run_command("front")
