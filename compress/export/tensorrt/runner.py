"""Run a TensorRT engine on PyTorch's CUDA tensors: nothing is copied, everything stays on PyTorch's stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...plan import UserError
from .backend import last_error, load_backend, message_log
from .card import check_fits, check_trusted, load_engine_card
from .device import cuda_device

WARMUP = 10  # calls before a measurement


class Engine:
    """The engine at `path` on PyTorch's current CUDA device; its card is `card`.

    Only with `trust` may the code run that version-compatible engines carry, whatever the card says; any engine is a
    program for the GPU. Raises UserError for such an engine without `trust`, when there is no GPU, when engine and card
    do not belong together, or when the engine was built by another version of TensorRT or for another GPU.

    Example::

        engine = Engine("model.engine")
        logits = engine(images)["logits"]  # of a detector: engine({"images": images, "image_size": size})
        times_ms = engine.time(images, repeats=100)
    """

    def __init__(self, path: str | Path, *, trust: bool = False) -> None:
        self.card = load_engine_card(path)
        check_trusted(path, self.card, trust=trust)
        self.device, found = _current_device()
        if found is None:
            raise UserError(
                f"{path}: running needs an NVIDIA GPU with driver, and here is none; building works without"
            )
        trt = load_backend(self.card["backend"])
        check_fits(path, self.card, trt.__version__, found)
        self._trt, self._log = trt, message_log(trt)
        self._runtime = trt.Runtime(self._log)
        if trust:
            self._runtime.engine_host_code_allowed = True  # version-compatible engines carry their own runtime
        self._engine = self._runtime.deserialize_cuda_engine(Path(path).read_bytes())
        if self._engine is None:
            raise UserError(f"{path}: cannot be loaded ({last_error(self._log)}); build it again here")
        self._context = self._engine.create_execution_context()

    def __call__(self, inputs: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name for `inputs`: {name: tensor}, or the tensor alone where there is one; returns before they are
        ready.

        Tensors lie on the engine's CUDA device, are of the input's type, and (batch, ...). As with PyTorch's own
        operators, reading the outputs on the current stream waits for them. Raises UserError for a missing or unknown
        name, a batch outside of the profile, and for another shape, type or device than the engine's.
        """
        return self._run(self._context, self._checked(inputs))

    def time(self, inputs: Tensor | Mapping[str, Tensor], repeats: int = 50) -> list[float]:
        """Milliseconds of `repeats` single calls by CUDA events, after a warm-up; raises as a call does."""
        given = self._checked(inputs)
        for _ in range(WARMUP):
            self._run(self._context, given)
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
        for start, end in events:
            start.record()
            self._run(self._context, given)
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in events]

    def layer_times(self, inputs: Tensor | Mapping[str, Tensor], repeats: int = 20) -> dict[str, float]:
        """Mean milliseconds of each layer over `repeats` calls, in the engine's order; raises as a call does.

        Layers are the engine's, after fusion. Profiled calls are slower than others: compare shares, not sums.
        """
        timer = self.layer_timer(inputs)
        for _ in range(repeats):
            timer.call()
        sums = defaultdict[str, float](float)
        for call in timer.calls_ms:
            for name, ms in call.items():
                sums[name] += ms
        return {name: total / repeats for name, total in sums.items()}

    def layer_timer(self, inputs: Tensor | Mapping[str, Tensor]) -> LayerTimer:
        """Calls on `inputs` whose layers are timed, after a warm-up; raises as a call does."""
        given = self._checked(inputs)
        context = self._engine.create_execution_context()  # its own: a profiler slows a context down
        for _ in range(WARMUP):
            self._run(context, given)
        context.profiler = profiler = _layer_profiler(self._trt)
        return LayerTimer(partial(self._run, context, given), profiler.calls_ms)

    def layer_information(self) -> str:
        """What is in every layer, as JSON; no more than names where the engine was not built with `detailed`."""
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _checked(self, inputs: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{name: contiguous tensor}, in the engine's order."""
        entries = {entry["name"]: entry for entry in self.card["inputs"]}
        listed = ", ".join(entries)
        if isinstance(inputs, Tensor):
            if len(entries) > 1:
                raise UserError(f"inputs: one tensor, and this engine takes {listed}; give {{name: tensor}}")
            inputs = {listed: inputs}
        if unknown := [name for name in inputs if name not in entries]:
            raise UserError(f"inputs: {unknown[0]!r} is unknown to this engine, which takes {listed}; leave it out")
        if missing := [name for name in entries if name not in inputs]:
            raise UserError(f"inputs: {missing[0]!r} is missing; this engine takes {listed}; give each")
        return {name: self._fitting(entry, inputs[name]) for name, entry in entries.items()}

    def _fitting(self, entry: dict[str, Any], given: Tensor) -> Tensor:
        name, shape = entry["name"], list(given.shape)
        low, high = (self.card["profile"][name][key][0] for key in ("min", "max"))
        dtype = getattr(torch, entry["dtype"])
        if not shape or shape[1:] != entry["shape"][1:] or given.dtype != dtype:
            wanted = f"(batch, {', '.join(map(str, entry['shape'][1:]))}) of {entry['dtype']}"
            raise UserError(f"{name}: {tuple(shape)} of {given.dtype}; this engine takes {wanted}")
        if not low <= shape[0] <= high:
            raise UserError(f"{name}: a batch of {shape[0]}; this engine was built for {low} to {high} images")
        if given.device != self.device:
            raise UserError(f"{name}: lies on {given.device}, and the engine on {self.device}; move it there")
        return given.contiguous()

    def _run(self, context: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        for name, given in inputs.items():
            context.set_input_shape(name, tuple(given.shape))
            context.set_tensor_address(name, given.data_ptr())
        outputs: dict[str, Tensor] = {}
        late = {}
        for entry in self.card["outputs"]:
            shape, dtype = tuple(context.get_tensor_shape(entry["name"])), getattr(torch, entry["dtype"])
            if -1 in shape:  # known only once the values are
                late[entry["name"]] = allocator = _output_allocator(self._trt, self.device, dtype)
                context.set_output_allocator(entry["name"], allocator)
            else:
                outputs[entry["name"]] = output = torch.empty(shape, dtype=dtype, device=self.device)
                context.set_tensor_address(entry["name"], output.data_ptr())
        if not context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError(f"TensorRT did not run: {last_error(self._log)}")
        return outputs | {key: allocator.tensor() for key, allocator in late.items()}


@dataclass(frozen=True)
class LayerTimer:
    """Calls of an engine; `calls_ms` has {layer: milliseconds} of each."""

    run: Callable[[], object]
    calls_ms: list[dict[str, float]]

    def call(self) -> None:
        """Call the engine once, and wait for it."""
        self.calls_ms.append({})
        self.run()
        torch.cuda.synchronize()


def _current_device() -> tuple[torch.device, dict[str, Any] | None]:
    """PyTorch's current CUDA device and what is known of it."""
    if cuda_device() is None:  # asked first: PyTorch would load CUDA into this process
        return torch.device("cuda"), None
    index = torch.cuda.current_device()
    return torch.device("cuda", index), cuda_device(index)


def _layer_profiler(trt: Any) -> Any:
    """A `trt.IProfiler` that notes the milliseconds of each layer in the last entry of `calls_ms`."""

    class LayerProfiler(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.calls_ms: list[dict[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            call = self.calls_ms[-1]
            call[layer_name] = call.get(layer_name, 0.0) + ms

    return LayerProfiler()


def _output_allocator(trt: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A `trt.IOutputAllocator` that keeps an output whose shape TensorRT finds out while it runs."""

    class OutputAllocator(trt.IOutputAllocator):
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self.buffer = torch.empty(0, dtype=torch.uint8, device=device)
            self.shape: tuple[int, ...] = ()

        def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            self.buffer = torch.empty(max(size, alignment), dtype=torch.uint8, device=device)
            return self.buffer.data_ptr()

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self.shape = tuple(shape)

        def tensor(self) -> Tensor:
            n_bytes = torch.Size(self.shape).numel() * dtype.itemsize
            return self.buffer[:n_bytes].view(dtype).view(self.shape)

    return OutputAllocator()
