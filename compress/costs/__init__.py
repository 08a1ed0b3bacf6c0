"""Costs as functions of widths."""

from .breakdown import Costed, breakdown
from .counting import count_macs, count_module_macs, count_params, macs, macs_of, params, params_of
from .latency import Latency, LatencyTable, MeasuredTable, open_table
from .soft_latency import SoftLatency

__all__ = [
    "Costed",
    "Latency",
    "LatencyTable",
    "MeasuredTable",
    "SoftLatency",
    "breakdown",
    "count_macs",
    "count_module_macs",
    "count_params",
    "macs",
    "macs_of",
    "open_table",
    "params",
    "params_of",
]
