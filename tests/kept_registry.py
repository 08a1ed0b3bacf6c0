"""What the exporter makes anew for every export and makes equal: here once a process.

Its table of operators takes more than a second, a quarter of what a small network's export takes; to look up a
thousand operators of C++ thirty times, so that Python knows them, a quarter of a second. Exports only read both.
"""

from __future__ import annotations

import sys
from functools import lru_cache


def keep_registry() -> None:
    """From here on this process makes it once; where the exporter is not imported yet, nothing happens."""
    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    if module is not None and not hasattr(module.ONNXRegistry.from_torchlib, "cache_info"):
        module.ONNXRegistry.from_torchlib = staticmethod(lru_cache(module.ONNXRegistry.from_torchlib))
        keep_operators()


def keep_operators() -> None:
    """Operators are looked up again where a library has brought more."""
    import torch
    from torch._export import utils

    look_up, known = utils._materialize_cpp_cia_ops, []

    def new_ones() -> None:
        found = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if found != known:
            look_up()
            known[:] = found

    utils._materialize_cpp_cia_ops = new_ones
