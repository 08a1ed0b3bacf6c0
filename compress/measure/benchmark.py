"""Exported models timed against each other: what tools/benchmark.py prints and writes."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..export import cuda_device
from ..plan import UserError
from .environment import device_name, versions
from .latency import drifted, time_reference
from .models import Model, count_weights, open_model
from .timing import interleaved, summarise, summarise_ratio, torch_threads


def benchmark_models(
    paths: Sequence[str | Path],
    *,
    backend: str | None = None,
    batch: int = 1,
    threads: int = 1,
    repeats: int = 60,
    warmup_seconds: float = 0.25,
    trust: bool = False,
) -> dict[str, Any]:
    """Time the .onnx files and .engines `paths` in turn; returns plain values, one row for each.

    Every model gets seeded standard normal images of its own input shape (random bytes for uint8). A time is that of
    one call in milliseconds: ONNX Runtime from NumPy array to NumPy array, engines from CUDA tensor to CUDA tensor
    with a wait for the result. `ratio` is that of neighbouring samples, this model's over the first one's. `drifted`
    as in `measure_latency`. `backend` and `trust` as in `open_model`.

    Raises UserError when a file cannot be opened or does not take `batch` images, and for numbers out of range.

    Example::

        result = benchmark_models(["baseline.onnx", "model.onnx"])
        result["rows"][1]["ratio"]["median"]  # 0.6
    """
    if batch < 1:
        raise UserError(f"batch={batch}: must be at least 1")
    if odd := [str(path) for path in paths if Path(path).suffix not in (".onnx", ".engine")]:
        raise UserError(f"{odd[0]}: must be an .onnx or .engine file; tools/export.py writes them")
    models = [open_model(path, backend=backend, threads=threads, batch=batch, trust=trust) for path in paths]
    calls = {str(index): model.bind(_images(model, batch)) for index, model in enumerate(models)}
    with torch_threads(threads):
        before = time_reference()
        samples = list(interleaved(calls, repeats=repeats, warmup_seconds=warmup_seconds).values())
        after = time_reference()
    rows = [
        {
            "file": str(path),
            "backend": model.backend,
            "ms": summarise(times),
            "ratio": summarise_ratio(samples[0], times),
            "bytes": Path(path).stat().st_size,
            "weights": count_weights(path) if Path(path).suffix == ".onnx" else None,
        }
        for path, model, times in zip(paths, models, samples, strict=True)
    ]
    return {
        "device": device_name(),
        "gpu": cuda_device() if any(model.device == "cuda" for model in models) else None,
        "batch": batch,
        "threads": threads,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "reference_ms": {"before": before, "after": after},
        "drifted": drifted(before, after),
        "rows": rows,
    }


def _images(model: Model, batch: int) -> torch.Tensor:
    low, high = model.batches or (batch, batch)
    if not low <= batch <= high:
        takes = str(low) if low == high else f"{low} to {high}"
        raise UserError(f"{model.path}: takes batches of {takes} images; give --batch {min(max(batch, low), high)}")
    generator = torch.Generator().manual_seed(0)
    if model.dtype == torch.uint8:
        return torch.randint(256, (batch, *model.shape), generator=generator, dtype=torch.uint8)
    return torch.randn(batch, *model.shape, generator=generator).to(model.dtype)
