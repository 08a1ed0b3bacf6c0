"""Latency of a network before and after pruning, on each backend: the content of `latency.json`."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..plan import Range, Threads, UserError, check_settings
from ..plan.backends import BACKENDS
from ..plan.drift import drifted
from .backends import Backend, Network
from .environment import device_name, versions
from .timing import Batch, Repeats, interleaved, summarise, summarise_ratio, torch_threads

REFERENCE_SIZE = 256  # Side of the square float32 matrices of the reference product.


def check_backends(backends: Sequence[str]) -> None:
    """UserError where one of `backends` cannot run here: `torch-compile` needs a C++ compiler, `tensorrt` a GPU.

    Example::

        check_backends(("pytorch", "torch-compile"))
    """
    for name in backends:
        if reason := BACKENDS.need("backend", name).missing():
            raise UserError(f"backends: {name!r} {reason}; or leave the backend out of measure.backends")


@dataclass(frozen=True)
class MeasureConfig:
    """How latency is measured.

    Args:
        backends: their names.
        batch: images per call.
        threads: of one call.
        repeats: samples per network.
        inner: calls per sample; 0: as many as make a sample take at least `min_sample_ms`.
        min_sample_ms: least duration of a sample, in milliseconds, where `inner` is 0.
        warmup_seconds: untimed running of each network beforehand, in seconds.
        layers: backends that have a profiler tell what every layer takes, before and after.
        before_finetune: a run also times the selected network, in seconds, before it is fine-tuned, and says if it is
            not faster.

    Raises UserError for values out of range.

    Example::

        MeasureConfig(backends=("onnxruntime",), threads=4)
    """

    backends: tuple[str, ...] = ("pytorch", "onnxruntime")
    batch: Batch = 1
    threads: Threads = 1
    repeats: Repeats = 60
    inner: Annotated[int, Range(at_least=0, at_most=10**6, remedy="0 chooses the number of calls per sample")] = 0
    min_sample_ms: Annotated[float, Range(at_least=0, at_most=1e6)] = 2.0
    warmup_seconds: Annotated[float, Range(at_least=0, at_most=1e4)] = 0.25
    layers: bool = True
    before_finetune: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.backends, str) or not self.backends:
            listed = ", ".join(each.name for each in BACKENDS.every())
            raise UserError(f"must be a list of one or more of {listed}", argument="backends", value=self.backends)
        object.__setattr__(self, "backends", tuple(self.backends))  # recipes hold lists
        for name in self.backends:
            BACKENDS.need("backends", name)
        check_settings(self)


def measure_latency(
    before: nn.Module,
    after: nn.Module,
    before_onnx: str | Path | None,
    after_onnx: str | Path | None,
    *,
    input_size: Sequence[int],
    config: MeasureConfig,
) -> dict[str, Any]:
    """Time both networks in turn on every backend of `config`; returns the content of `latency.json`.

    Times are milliseconds per batch on the CPU in float32; an engine's GPU is named in its entry. Compiling and
    building are counted apart (`compile_seconds`; fewer where inductor finds an older result in its cache). A fixed
    matrix product is timed before and after everything (`reference_ms`): when the two differ by more than 20 % the
    machine's speed changed meanwhile, and `drifted` is true. The number of PyTorch's threads is restored; what else
    torch.compile has compiled in this process is compiled again when `torch-compile` was measured.

    Args:
        before: the unpruned network.
        after: the pruned one.
        before_onnx: its file; None where no backend takes files.
        after_onnx: likewise.
        input_size: (C, H, W) of the images, which are standard normal, seeded.
        config: how, and with which backends.

    Raises UserError when an ONNX file is needed and missing or corrupt, and where a backend cannot run here.

    Example::

        latency = measure_latency(big, small, "baseline.onnx", "model.onnx", input_size=(3, 32, 32),
                                  config=MeasureConfig())
        latency["backends"]["onnxruntime"]["ratio"]["median"]  # 0.6
    """
    check_backends(config.backends)
    shape = (config.batch, *input_size)
    images_BCHW = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    modules, files = {"before": before, "after": after}, {"before": before_onnx, "after": after_onnx}

    def compare() -> dict[str, Any]:
        found = [BACKENDS.need("backend", name) for name in config.backends]
        return {each.name: _compared(each, _taken(each, modules, files), images_BCHW, config) for each in found}

    return latency_record(compare, input_size=input_size, config=config)


def _taken(
    backend: Backend, modules: Mapping[str, nn.Module], files: Mapping[str, str | Path | None]
) -> dict[str, Network]:
    """Both networks in the form that `backend` takes."""
    if backend.takes == "module":
        return dict(modules)
    given = {side: Path(file) for side, file in files.items() if file is not None}
    if len(given) < len(files):
        raise UserError(f"backends: {backend.name!r} needs the ONNX files of both networks; export them first")
    return dict(given)


def _compared(
    backend: Backend, networks: Mapping[str, Network], images_BCHW: Tensor, config: MeasureConfig
) -> dict[str, Any]:
    """The entry of `backend` in `latency.json`."""
    times = backend.time(networks, images_BCHW, threads=config.threads, **_timing(config))
    seconds = {"compile_seconds": times.seconds} if backend.compiles else {}
    return {**_entry(times.samples_ms), **seconds, **backend.facts()}


def latency_record(
    compare: Callable[[], dict[str, Any]], *, input_size: Sequence[int], config: MeasureConfig
) -> dict[str, Any]:
    """The content of `latency.json` around what `compare` returns, {backend: entry of `compare_calls`}.

    A fixed matrix product is timed before and after it; PyTorch has `config.threads` threads meanwhile.
    """
    with torch_threads(config.threads):
        reference_before = time_reference()
        backends = compare()
        reference_after = time_reference()
    return {
        "device": device_name(),
        "dtype": "float32",
        "batch": config.batch,
        "threads": config.threads,
        "input_size": list(input_size),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(*packages_of(config.backends)),
        "reference_ms": {"before": reference_before, "after": reference_after},
        "drifted": drifted([reference_before, reference_after]),
        "backends": backends,
    }


def packages_of(backends: Iterable[str]) -> list[str]:
    """The packages whose versions decide what `backends` run."""
    return [package for name in backends for package in BACKENDS.need("backend", name).packages]


def compare_calls(pair: Mapping[str, Callable[[], object]], config: MeasureConfig) -> dict[str, Any]:
    """One backend's entry of `latency.json`: the calls `before` and `after` timed in turn, as `config` says."""
    return _entry(interleaved(pair, **_timing(config)))


def _timing(config: MeasureConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("repeats", "inner", "min_sample_ms", "warmup_seconds")}


def _entry(samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    entry = {name: summarise(values) for name, values in samples.items()}
    entry["ratio"] = summarise_ratio(samples["before"], samples["after"])
    return entry


def time_reference() -> float:
    """Median milliseconds of a float32 product of two matrices of REFERENCE_SIZE squared."""
    matrix = torch.randn(REFERENCE_SIZE, REFERENCE_SIZE, generator=torch.Generator().manual_seed(0))
    samples = interleaved({"reference": lambda: matrix @ matrix}, repeats=30, warmup_seconds=0.05)
    return summarise(samples["reference"])["median"]
