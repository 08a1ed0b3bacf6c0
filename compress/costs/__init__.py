"""Costs as functions of widths."""

from .counting import count_macs, count_params, macs, params

__all__ = ["count_macs", "count_params", "macs", "params"]
