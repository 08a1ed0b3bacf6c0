"""Tell what a recipe's runs will take: memory of each process, hours of each stage, disk; nothing is started."""

import sys
from pathlib import Path

# The checkout's library, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compress.commands import run_command

if __name__ == "__main__":
    run_command("estimate")
