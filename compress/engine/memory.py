"""How this process handles memory that training frees and asks for again at every step."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT, LARGEST = 1 << 30, 32 << 20
"""Bytes of free memory at the end of the heap that stay there, and the largest block that glibc takes from the heap."""


@cache
def keep_freed_memory() -> bool:
    """Let glibc keep what is freed instead of giving it back to the system; whether it could be told so.

    By default feature maps go back after every pass, and all their pages are faulted in and cleared again in the next:
    a tenth of the time of training PreResNet-20 on one thread. The peak stays what it is. For the rest of the process;
    elsewhere than on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_TRIM_THRESHOLD, KEPT) and mallopt(M_MMAP_THRESHOLD, LARGEST))
