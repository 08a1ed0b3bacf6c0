"""One network in two files, for images that lie and for images that stand: which is which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Size = tuple[int, int]
"""(height, width) in pixels."""


def orientation(size: Sequence[int]) -> str:
    """`portrait` where (height, width) stands upright, else `landscape`."""
    return "portrait" if size[0] > size[1] else "landscape"


def other_form(path: str | Path, size: Sequence[int]) -> Path:
    """Where the network of the file `path`, which takes images of `size`, is for those of the other orientation.

    Beside m.onnx, for (800, 1344), that is m_portrait.onnx, and the other way around; beside m.onnx for (1344, 800) it
    is m_landscape.onnx.
    """
    path, own = Path(path), f"_{orientation(size)}"
    stem = path.stem.removesuffix(own) if path.stem.endswith(own) else f"{path.stem}_{orientation(size[::-1])}"
    return path.with_name(stem + path.suffix)
