"""How an engine is built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...plan import UserError, check_number
from .backend import FLAVOURS


@dataclass(frozen=True)
class EngineConfig:
    """What `build_engine` makes of an ONNX file.

    `backend`: "tensorrt" (10 or 11; builds for the GPU at hand) or "tensorrt-rtx" (builds without one).
    `batch`: smallest, optimal and largest number of images of one call. `workspace_gib`: device memory that the builder
    may use for intermediate results, in GiB; None: all there is. `fp16`: allow float16 for a float32 file, which only
    TensorRT 10 can; everywhere else the file's own types decide (`half_model`). INT8 comes from the file's
    QuantizeLinear nodes alone. `timing_cache`: file of kernel timings, read if there and written after the build.
    `hardware_compatible`: also for newer GPUs than this one (Ampere or later); `version_compatible`: also for later
    versions of TensorRT. `compute_capabilities`: the GPUs a TensorRT-RTX engine is for ("8.6", "8.9"); none: 8.6 and
    later. `verbose`: print the builder's warnings. `detailed`: the engine tells what is in its layers
    (`Engine.layer_information`).

    Raises UserError for values out of range and for combinations that a backend has not.

    Example::

        EngineConfig(backend="tensorrt-rtx", batch=(1, 8, 32), compute_capabilities=("8.9",))
    """

    backend: str = "tensorrt"
    batch: tuple[int, int, int] = (1, 1, 16)
    workspace_gib: float | None = None
    fp16: bool = False
    timing_cache: str | Path | None = None
    hardware_compatible: bool = False
    version_compatible: bool = False
    compute_capabilities: tuple[str, ...] = ()
    verbose: bool = False
    detailed: bool = False

    def __post_init__(self) -> None:
        if self.backend not in FLAVOURS:
            raise UserError(f"backend = {self.backend!r}: must be one of {', '.join(FLAVOURS)}")
        if len(self.batch) != 3 or not 1 <= self.batch[0] <= self.batch[1] <= self.batch[2]:
            text = ":".join(map(str, self.batch))
            raise UserError(f"batch = {text}: must be MIN:OPT:MAX with 1 <= MIN <= OPT <= MAX, for example 1:8:32")
        if self.workspace_gib is not None:
            check_number("workspace_gib", self.workspace_gib, above=0)
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"\d+\.\d", capability):
                raise UserError(f"compute_capabilities: {capability!r} must look like 8.6; see your GPU's data sheet")
        self._check_backend()

    def _check_backend(self) -> None:
        for option, why in FLAVOURS[self.backend].lacks.items():
            if getattr(self, option):
                raise UserError(f"{option}: {why}")
