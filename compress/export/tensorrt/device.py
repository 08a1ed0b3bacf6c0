"""Is there an NVIDIA GPU? Asked in a process of its own: libraries of CUDA may end the process where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from typing import Any

PROBE = """
import ctypes, json, sys
cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
def number(function, *arguments):
    value = ctypes.c_int()
    if function(ctypes.byref(value), *arguments):
        sys.exit(1)
    return value.value
if cuda.cuInit(0):
    sys.exit(1)
device = number(cuda.cuDeviceGet, int(sys.argv[1]))
name = ctypes.create_string_buffer(256)
cuda.cuDeviceGetName(name, 256, device)
major, minor = (number(cuda.cuDeviceGetAttribute, code, device) for code in (75, 76))
version = number(cuda.cuDriverGetVersion)
cuda_version = f"{version // 1000}.{version % 1000 // 10}"
print(json.dumps({"name": name.value.decode(), "compute_capability": f"{major}.{minor}", "cuda": cuda_version}))
"""
SECONDS = 60


@lru_cache
def cuda_device(index: int = 0) -> dict[str, Any] | None:
    """{"name", "compute_capability": "8.6", "cuda": the driver's newest CUDA} of a visible GPU; None without one.

    The answer is kept for the life of the process. Never raises, and never loads CUDA into this process.

    Example::

        cuda_device()  # {"name": "NVIDIA A10", "compute_capability": "8.6", "cuda": "13.0"}
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(index)], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.SubprocessError, json.JSONDecodeError):
        return None
