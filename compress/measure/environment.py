"""What a measurement was taken on: the processor and the versions of the software."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

# Name in our files -> distributions that provide it; the first one installed counts.
DISTRIBUTIONS = {
    "compress": ("compress",),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "mmengine": ("onedl-mmengine", "mmengine"),
    "numpy": ("numpy",),
}


def device_name(cpuinfo: str | Path = "/proc/cpuinfo") -> str:
    """Return the processor's name and the number of cores this process may use.

    The name comes from the first `model name` line of `cpuinfo` (Linux), else from `platform`.

    Example::

        device_name()  # 'Intel(R) Xeon(R) Processor, 2 cores'
    """
    name = _model_name(Path(cpuinfo)) or platform.processor() or platform.machine() or "unknown processor"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{name}, {cores} core{'' if cores == 1 else 's'}"


def versions() -> dict[str, str]:
    """Return {name: version} of Python and of the installed packages that shape results; absent ones are left out.

    Read from the packages' metadata: nothing is imported.

    Example::

        versions()["torch"]  # '2.14.1'
    """
    found = {"python": platform.python_version()}
    for name, distributions in DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                found[name] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def _model_name(cpuinfo: Path) -> str | None:
    """The first `model name` in a /proc/cpuinfo file; None where there is no such file or no such line (ARM)."""
    if not cpuinfo.is_file():
        return None
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return None
