"""Timings of before and after, taken in turn, and what they were taken on; latency tables."""

from .environment import device_name, versions
from .fitting import describe_table, prediction_error
from .latency import BACKENDS, MeasureConfig, measure_latency
from .plan_timer import PlanTimer
from .table import TableConfig, build_table, merge_tables, table_key
from .timing import interleaved, summarise, summarise_ratio, torch_threads

__all__ = [
    "BACKENDS",
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
