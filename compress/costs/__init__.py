"""Costs as functions of widths."""

from .breakdown import Costed, breakdown
from .counting import count_macs, count_module_macs, count_params, macs, params

__all__ = ["Costed", "breakdown", "count_macs", "count_module_macs", "count_params", "macs", "params"]
