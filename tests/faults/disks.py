"""Small disks: file systems in memory of a chosen size, where this machine lets a test mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A file system of `kib` KiB at `path`."""

    def __init__(self, path: Path, kib: int) -> None:
        self.path = path
        self._mount("-t", "tmpfs", "-o", f"size={kib}k", "none", str(path))

    def resize(self, kib: int) -> None:
        """Make room, or take it."""
        self._mount("-o", f"remount,size={kib}k", str(self.path))

    def freeze(self) -> None:
        """Let nothing be written any more."""
        self._mount("-o", "remount,ro", str(self.path))

    def _mount(self, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this machine lets no test mount a disk: {done.stderr.strip() or done.returncode}")


@contextmanager
def disk(path: Path, kib: int) -> Iterator[Disk]:
    """A disk of `kib` KiB at `path` while the block lasts; skips the test where none can be mounted."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        made = Disk(path, kib)
    except FileNotFoundError:
        pytest.skip("this machine has no mount")
    try:
        yield made
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
