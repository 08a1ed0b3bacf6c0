"""Memory that training frees stays with the process."""

import subprocess
import sys

import pytest

from compress.engine.memory import keep_freed_memory

FAULTS = """
import resource, sys
from compress.engine.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for turn in range(12):
    blocks = [bytearray(8 << 20) for _ in range(4)]  # zeroed: every page is touched
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="no glibc")
def test_pages_of_freed_blocks_are_not_faulted_in_again():
    assert faults("kept") < 0.1 * faults("given back")
