"""Numbers of threads that would crash the process are refused, wherever they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compress.engine.data import DataConfig
from compress.engine.loaders import ImageLoader
from compress.export import onnx_session
from compress.measure import MeasureConfig, TableConfig, torch_threads
from compress.plan import Threads, UserError, Workers, check_setting
from compress.plan.threads import MOST


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "4", None, MOST + 1, 99999, 10**30, 10**400])
def test_what_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"^threads = "):
        check_setting("threads", value, Threads)


def test_what_is_taken() -> None:
    for value in (1, 2, 64, 256, MOST):
        check_setting("threads", value, Threads)
    check_setting("num_workers", 0, Workers)


@pytest.mark.parametrize(
    "ask",
    [
        lambda n: MeasureConfig(threads=n),
        lambda n: TableConfig(threads=n),
        lambda n: DataConfig(num_workers=n),
        lambda n: ImageLoader([1], num_workers=n),
        lambda n: onnx_session("none.onnx", threads=n),
        lambda n: torch_threads(n).__enter__(),
    ],
)
def test_every_setting_is_checked(ask: Callable[[int], object]) -> None:
    with pytest.raises(UserError, match=r"(threads|num_workers) = 99999: must be a whole number .*at most"):
        ask(99999)
