"""Exported models timed against each other: what `nncompress benchmark` prints and writes."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..export import cuda_device
from ..plan import UserError
from ..plan.drift import drifted
from .environment import device_name, versions
from .latency import packages_of, time_reference
from .models import count_weights, file_backend, open_model
from .session import Session
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
    as in `measure_latency`.

    Args:
        paths: of the files; ratios are to the first.
        backend: of the .onnx files, as in `open_model`; `trust` likewise.
        batch: images of a call.
        threads: of one call on the CPU.
        repeats: samples of each model.
        warmup_seconds: untimed calls of each beforehand.
        trust: let engines bring code that runs.

    Raises UserError when a file cannot be opened or does not take `batch` images, and for numbers out of range.

    Example::

        result = benchmark_models(["baseline.onnx", "model.onnx"])
        result["rows"][1]["ratio"]["median"]  # 0.6
    """
    sessions = _opened(paths, backend=backend, threads=threads, batch=batch, trust=trust)
    calls = {str(index): session.bind(_images(session, batch)) for index, session in enumerate(sessions)}
    with torch_threads(threads), torch.inference_mode():
        before = time_reference()
        samples = list(interleaved(calls, repeats=repeats, warmup_seconds=warmup_seconds).values())
        after = time_reference()
    return {
        "device": device_name(),
        "gpu": cuda_device() if any(session.device == "cuda" for session in sessions) else None,
        "batch": batch,
        "threads": threads,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(*packages_of(session.backend for session in sessions)),
        "reference_ms": {"before": before, "after": after},
        "drifted": drifted([before, after]),
        "rows": [_row(*each, samples[0]) for each in zip(paths, sessions, samples, strict=True)],
    }


def _opened(paths: Sequence[str | Path], *, batch: int, **options: Any) -> list[Session]:
    """All of `paths`, each a file of a backend's own kind."""
    if batch < 1:
        raise UserError(f"batch={batch}: must be at least 1")
    if odd := [str(path) for path in paths if file_backend(Path(path)) is None]:
        raise UserError(f"{odd[0]}: must be an .onnx or .engine file; `nncompress export` writes them")
    return [open_model(path, batch=batch, **options) for path in paths]


def _row(path: str | Path, session: Session, times: Sequence[float], first: Sequence[float]) -> dict[str, Any]:
    """What is said of the model at `path`, whose calls took `times`, and those of the first model `first`."""
    return {
        "file": str(path),
        "backend": session.backend,
        "ms": summarise(times),
        "ratio": summarise_ratio(first, times),
        "bytes": Path(path).stat().st_size,
        "weights": count_weights(path) if Path(path).suffix == ".onnx" else None,
    }


def _images(session: Session, batch: int) -> torch.Tensor:
    low, high = session.batches or (batch, batch)
    if not low <= batch <= high:
        takes = str(low) if low == high else f"{low} to {high}"
        raise UserError(f"{session.source}: takes batches of {takes} images; give --batch {min(max(batch, low), high)}")
    generator = torch.Generator().manual_seed(0)
    if session.dtype == torch.uint8:
        return torch.randint(256, (batch, *session.shape), generator=generator, dtype=torch.uint8)
    return torch.randn(batch, *session.shape, generator=generator).to(session.dtype)
