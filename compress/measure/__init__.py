"""Timings of before and after, taken in turn, and what they were taken on; latency tables."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .environment import device_name, versions
    from .fitting import describe_table, prediction_error
    from .latency import MeasureConfig, measure_latency
    from .plan_timer import PlanTimer
    from .table import TableConfig, build_table, merge_tables, table_key
    from .timing import interleaved, summarise, summarise_ratio, torch_threads

FILES = {
    "environment": ("device_name", "versions"),
    "fitting": ("describe_table", "prediction_error"),
    "latency": ("MeasureConfig", "measure_latency"),
    "plan_timer": ("PlanTimer",),
    "table": ("TableConfig", "build_table", "merge_tables", "table_key"),
    "timing": ("interleaved", "summarise", "summarise_ratio", "torch_threads"),
}


def __getattr__(name: str) -> Any:
    """What is asked for is imported then: backends are in this room, and their names must not cost PyTorch."""
    for file, names in FILES.items():
        if name in names:
            return getattr(import_module(f".{file}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "MeasureConfig",
    "PlanTimer",
    "TableConfig",
    "build_table",
    "describe_table",
    "device_name",
    "interleaved",
    "measure_latency",
    "merge_tables",
    "prediction_error",
    "summarise",
    "summarise_ratio",
    "table_key",
    "torch_threads",
    "versions",
]
