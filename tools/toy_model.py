"""Draw figure 2.1: trajectories of RARTS and first-order DARTS on the solvable model, and print the errors."""

import sys
from pathlib import Path

# The checkout's library, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compress.commands import run_command

if __name__ == "__main__":
    run_command("toy-model")
