"""The exporter's table of operators, made once a process: torch.onnx makes an equal one for every export.

That takes more than a second, a quarter of what a small network's export takes. Exports only read it.
"""

from __future__ import annotations

import sys
from functools import lru_cache


def keep_registry() -> None:
    """From here on this process makes it once; where the exporter is not imported yet, nothing happens."""
    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    if module is not None and not hasattr(module.ONNXRegistry.from_torchlib, "cache_info"):
        module.ONNXRegistry.from_torchlib = staticmethod(lru_cache(module.ONNXRegistry.from_torchlib))
