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


IDENTITY = ("vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part")
"""Lines of /proc/cpuinfo that say which generation of processor it is: those of x86, then those of ARM."""

VECTORS = (
    *("avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
"""Extensions that engines choose their kernels by."""


def device_name(cpuinfo: str | Path = "/proc/cpuinfo") -> str:
    """Return the processor's name and the number of cores this process may use.

    The name comes from the first `model name` line of `cpuinfo` (Linux), else from `platform`.

    Example::

        device_name()  # 'Intel(R) Xeon(R) Processor, 2 cores'
    """
    names = _cpuinfo(Path(cpuinfo)).get("model name", [""])  # none on ARM
    name = names[0] or platform.processor() or platform.machine() or "unknown processor"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{name}, {cores} core{'' if cores == 1 else 's'}"


def processor(cpuinfo: str | Path = "/proc/cpuinfo") -> str:
    """Return which processor this is, by its generation and vector extensions: hypervisors give many the same name.

    Read from `cpuinfo` (Linux); what `platform` knows where there is none.

    Example::

        processor()  # 'vendor_id GenuineIntel, cpu family 6, model 143, stepping 8: avx avx2 fma avx512f ...'
    """
    found = _cpuinfo(Path(cpuinfo))
    # Processors with cores of several kinds have several values.
    identity = ", ".join(f"{name} {'/'.join(sorted(set(found[name])))}" for name in IDENTITY if name in found)
    flags = [*found.get("flags", ()), *found.get("Features", ())] or [""]
    vectors = " ".join(name for name in VECTORS if name in flags[0].split())
    known = ": ".join(part for part in (identity, vectors) if part)
    return known or platform.processor() or platform.machine() or "unknown processor"


def versions(*more: str) -> dict[str, str]:
    """Return {name: version} of Python and of the installed packages that shape results; absent ones are left out.

    `more` are packages beside those, such as a backend's. Read from their metadata: nothing is imported.

    Example::

        versions()["torch"]  # '2.14.1'
    """
    found = {"python": platform.python_version()}
    others = {name: (name,) for name in more if name not in DISTRIBUTIONS}
    for name, distributions in {**DISTRIBUTIONS, **others}.items():
        for distribution in distributions:
            try:
                found[name] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def _cpuinfo(path: Path) -> dict[str, list[str]]:
    """{name: its values, one for every core} in a /proc/cpuinfo file; nothing where there is none."""
    found: dict[str, list[str]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if value:
                found.setdefault(name, []).append(value)
    return found
