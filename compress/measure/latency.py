"""Latency of a network before and after pruning, on each backend: the content of `latency.json`."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..export import INPUT_NAME, OUTPUT_NAME, cuda_device, inference_copy, onnx_session
from ..export.tensorrt.backend import load_backend
from ..plan import Range, Threads, UserError, brief, check_settings
from .environment import device_name, versions
from .models import open_model
from .timing import Batch, Repeats, interleaved, summarise, summarise_ratio, torch_threads

REFERENCE_SIZE = 256  # Side of the square float32 matrices of the reference product.
DRIFT = 0.2


def _pytorch(model: nn.Module, onnx_path: str | Path | None, images_BCHW: Tensor, threads: int) -> Callable[[], object]:
    """PyTorch eager on the CPU; the thread number is set by the caller, for the whole process."""
    network = inference_copy(model)
    return lambda: network(images_BCHW)


def _onnxruntime(
    model: nn.Module, onnx_path: str | Path | None, images_BCHW: Tensor, threads: int
) -> Callable[[], object]:
    """ONNX Runtime on the CPU, from NumPy array to NumPy array."""
    if onnx_path is None:
        raise UserError("backends: 'onnxruntime' needs the ONNX files of both networks; export them first")
    session = onnx_session(onnx_path, threads=threads)
    feed = {INPUT_NAME: images_BCHW.numpy()}
    return lambda: session.run([OUTPUT_NAME], feed)


def _torch_compile(
    model: nn.Module, onnx_path: str | Path | None, images_BCHW: Tensor, threads: int
) -> Callable[[], object]:
    """PyTorch's inductor on the CPU, for these shapes alone; compiled here, by a first call."""
    network = torch.compile(inference_copy(model), fullgraph=True, dynamic=False)
    try:
        network(images_BCHW)
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"backends: {COMPILED!r} cannot compile {type(model).__name__} ({reason}); leave it out of measure.backends"
        ) from error
    return lambda: network(images_BCHW)


def _tensorrt(
    model: nn.Module, onnx_path: str | Path | None, images_BCHW: Tensor, threads: int
) -> Callable[[], object]:
    """A TensorRT engine of the ONNX file, built here; from CUDA tensor to CUDA tensor, with a wait for the result."""
    if onnx_path is None:
        raise UserError("backends: 'tensorrt' needs the ONNX files of both networks; export them first")
    return open_model(onnx_path, backend=TENSORRT, batch=len(images_BCHW)).bind(images_BCHW)


COMPILED = "torch-compile"
TENSORRT = "tensorrt"
BACKENDS = {"pytorch": _pytorch, "onnxruntime": _onnxruntime, COMPILED: _torch_compile, TENSORRT: _tensorrt}
SLOWLY_MADE = (COMPILED, TENSORRT)
"""Backends that take seconds to minutes to make what they then run."""


def check_backends(backends: Sequence[str]) -> None:
    """UserError where one of `backends` cannot run here: `torch-compile` needs a C++ compiler, `tensorrt` a GPU.

    Example::

        check_backends(("pytorch", "torch-compile"))
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # as inductor chooses it
    if COMPILED in backends and shutil.which(compiler) is None:
        raise UserError(
            f"backends: {COMPILED!r} needs a C++ compiler, and {compiler!r} is not on the PATH; install it, name "
            "another one in the environment variable CXX, or leave the backend out of measure.backends"
        )
    if TENSORRT in backends:
        if cuda_device() is None:
            raise UserError(
                f"backends: {TENSORRT!r} needs an NVIDIA GPU with driver, and here is none; leave it out of "
                "measure.backends"
            )
        load_backend(TENSORRT)


@dataclass(frozen=True)
class MeasureConfig:
    """How latency is measured.

    `backends`: names out of BACKENDS. `batch`: images per call. `threads`: threads of one call. `repeats`: samples per
    network. `inner`: calls per sample, 0 to choose them so that a sample takes at least `min_sample_ms`.
    `warmup_seconds`: untimed running of each network beforehand. Raises UserError for values out of range.

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

    def __post_init__(self) -> None:
        if isinstance(self.backends, str) or not self.backends:
            rule = f"must be a list of one or more of {', '.join(BACKENDS)}"
            raise UserError(rule, argument="backends", value=self.backends)
        object.__setattr__(self, "backends", tuple(self.backends))  # recipes hold lists
        for name in self.backends:
            if name not in BACKENDS:
                remedy = f"choose from {', '.join(BACKENDS)}"
                raise UserError(f"{brief(name)} is unknown", argument="backends", remedy=remedy)
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

    `input_size` is (C, H, W); the images are standard normal, seeded. Times are milliseconds per batch on the CPU in
    float32; `tensorrt` runs on a GPU, which its entry names. `pytorch` runs eagerly, in eval mode under
    `torch.inference_mode`; `torch-compile` likewise, compiled by inductor beforehand. Compiling and building are
    counted apart (`compile_seconds`; fewer where inductor finds an older result in its cache). The ONNX paths may be
    None where no backend reads them. A fixed matrix product is timed before and after everything (`reference_ms`): when
    the two differ by more than 20 % the machine's speed changed meanwhile, and `drifted` is true. The number of
    PyTorch's threads is restored; what else torch.compile has compiled in this process is compiled again when
    `torch-compile` was measured.

    Raises UserError when an ONNX file is needed and missing or corrupt, and where a backend cannot run here.

    Example::

        latency = measure_latency(big, small, "baseline.onnx", "model.onnx", input_size=(3, 32, 32),
                                  config=MeasureConfig())
        latency["backends"]["onnxruntime"]["ratio"]["median"]  # 0.6
    """
    check_backends(config.backends)
    shape = (config.batch, *input_size)
    images_BCHW = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def compare() -> dict[str, Any]:
        backends = {}
        for name in config.backends:
            pair: dict[str, Callable[[], object]] = {}
            seconds: dict[str, float] = {}
            if name == COMPILED:
                torch.compiler.reset()  # PyTorch keeps what it compiled, and takes eight networks of one class at most
            for side, model, onnx_path in (("before", before, before_onnx), ("after", after, after_onnx)):
                started = time.perf_counter()
                pair[side] = BACKENDS[name](model, onnx_path, images_BCHW, config.threads)
                seconds[side] = round(time.perf_counter() - started, 2)
            backends[name] = compare_calls(pair, config)
            if name in SLOWLY_MADE:
                backends[name]["compile_seconds"] = seconds
            if name == TENSORRT:
                backends[name]["gpu"] = cuda_device()
        return backends

    with torch.inference_mode():
        return latency_record(compare, input_size=input_size, config=config)


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
        "versions": versions(),
        "reference_ms": {"before": reference_before, "after": reference_after},
        "drifted": drifted(reference_before, reference_after),
        "backends": backends,
    }


def compare_calls(pair: Mapping[str, Callable[[], object]], config: MeasureConfig) -> dict[str, Any]:
    """One backend's entry of `latency.json`: the calls `before` and `after` timed in turn, as `config` says."""
    samples = interleaved(
        pair,
        repeats=config.repeats,
        inner=config.inner,
        min_sample_ms=config.min_sample_ms,
        warmup_seconds=config.warmup_seconds,
    )
    entry = {name: summarise(values) for name, values in samples.items()}
    entry["ratio"] = summarise_ratio(samples["before"], samples["after"])
    return entry


def time_reference() -> float:
    """Median milliseconds of a float32 product of two matrices of REFERENCE_SIZE squared."""
    matrix = torch.randn(REFERENCE_SIZE, REFERENCE_SIZE, generator=torch.Generator().manual_seed(0))
    samples = interleaved({"reference": lambda: matrix @ matrix}, repeats=30, warmup_seconds=0.05)
    return summarise(samples["reference"])["median"]


def drifted(before_ms: float, after_ms: float) -> bool:
    """Whether the slower of the two took more than DRIFT longer than the faster."""
    return max(before_ms, after_ms) > (1 + DRIFT) * min(before_ms, after_ms)
