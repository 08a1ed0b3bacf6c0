"""Measure a latency table on this machine: what every layer costs at every width, or every operation of a cell."""

import sys
from pathlib import Path

# The checkout's library, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compress.commands import run_command

if __name__ == "__main__":
    run_command("profile")
