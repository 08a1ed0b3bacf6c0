"""TensorRT as an engine of a device: by its Python package, or by NVIDIA's command trtexec."""

from __future__ import annotations

import contextlib
import ctypes
import json
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .engines import Engine, StopError

RUNS = 5
"""Of trtexec with each network: it cannot call two in turn, so short runs of both take turns."""


class TensorRT(Engine):
    """Engines of float32 networks, from GPU memory to GPU memory with a wait for the result."""

    def __init__(self, args: Namespace) -> None:
        self.backend = args.engine
        self.trt: Any = __import__(args.engine.replace("-", "_"))
        self.cuda = ctypes.CDLL(next(cuda_libraries(), "libcudart.so"))
        self.logger = self.trt.Logger(self.trt.Logger.ERROR)
        self.places: dict[tuple[str, int], ctypes.c_void_p] = {}
        self.versions, self.device = {args.engine: self.trt.__version__}, gpu_name()

    def open(self, path: Path, images: np.ndarray) -> Callable[[], object]:
        """Built first, which takes a while."""
        engine = self.trt.Runtime(self.logger).deserialize_cuda_engine(engine_of(self.trt, self.logger, path))
        context, stream = engine.create_execution_context(), ctypes.c_void_p()
        self.check(self.cuda.cudaStreamCreate(ctypes.byref(stream)))
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            entry = np.dtype(self.trt.nptype(engine.get_tensor_dtype(name)))
            size = int(np.prod(engine.get_tensor_shape(name))) * entry.itemsize
            place = self.place(name, size)
            if engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT:
                source = images.ctypes.data_as(ctypes.c_void_p)
                self.check(self.cuda.cudaMemcpy(place, source, ctypes.c_size_t(images.nbytes), 1))
            context.set_tensor_address(name, place.value)

        def call() -> None:
            context.execute_async_v3(stream.value)
            self.check(self.cuda.cudaStreamSynchronize(stream))

        return call

    def place(self, name: str, size: int) -> ctypes.c_void_p:
        """GPU memory for `size` bytes of the tensor `name`, the same for all networks: they are called in turn."""
        if (name, size) not in self.places:
            place = ctypes.c_void_p()
            self.check(self.cuda.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(size)))
            self.places[name, size] = place
        return self.places[name, size]

    def check(self, status: int) -> None:
        """CUDA's functions return 0 when all is well."""
        if status:
            raise StopError(f"CUDA: error {status}; is the GPU's memory full, or its driver too old?")


class Trtexec(Engine):
    """NVIDIA's command, which builds engines and times them; milliseconds are those of the GPU's work."""

    backend = "tensorrt"
    provider = "trtexec"

    def __init__(self, args: Namespace) -> None:
        self.program, self.folder = args.trtexec or "trtexec", args.folder / "engines"
        if shutil.which(self.program) is None:
            raise StopError(f"--trtexec {self.program}: no such program; give its path")
        said = subprocess.run([self.program, "--help"], capture_output=True, text=True, check=False).stdout
        version = said.partition("[TensorRT")[2].partition("]")[0].strip(" .v[")[:40]  # 'TensorRT v101300' of 10.13
        self.versions, self.device = {"tensorrt": version or "unknown"}, gpu_name()
        shutil.rmtree(self.folder, ignore_errors=True)  # engines of another GPU or version, if the kit has been there

    def time(self, pair: Mapping[str, Path], images: np.ndarray, args: Namespace) -> dict[str, list[float]]:
        """Engines are built once, and the unpruned network's stays for the next pair."""
        engines = {name: self.built(path) for name, path in pair.items()}
        samples: dict[str, list[float]] = {name: [] for name in pair}
        for turn in range(RUNS):
            for name in list(pair) if turn % 2 == 0 else reversed(list(pair)):
                samples[name] += self.run(engines[name], args.rounds)
        for name in pair:
            if name != "unpruned":
                engines[name].unlink()
        return samples

    def built(self, path: Path) -> Path:
        """The engine of the network in `path`."""
        engine = self.folder / f"{path.stem}.engine"
        if not engine.exists():
            engine.parent.mkdir(exist_ok=True)
            made = engine.with_suffix(".tmp")
            once = ("--iterations=1", "--duration=0", "--warmUp=0")  # the option for none has two names
            self.command(f"--onnx={path}", f"--saveEngine={made}", *once)
            made.replace(engine)
        return engine

    def run(self, engine: Path, rounds: int) -> list[float]:
        """Milliseconds of `rounds` calls."""
        times = self.folder / "times.json"
        options = ["--warmUp=200", "--duration=0", f"--iterations={rounds}", "--noDataTransfers"]
        self.command(f"--loadEngine={engine}", f"--exportTimes={times}", *options)
        return [float(entry["computeMs"]) for entry in json.loads(times.read_text())]

    def command(self, *options: str) -> None:
        """Run trtexec; StopError with the end of what it says where it fails."""
        done = subprocess.run([self.program, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise StopError(f"{self.program} {' '.join(options)}: failed\n{(done.stdout + done.stderr)[-1000:]}")


def engine_of(trt: Any, logger: Any, path: Path) -> Any:
    """The engine of an .onnx file, serialised, by the module `trt`: tensorrt, or tensorrt_rtx, which needs no GPU."""
    builder = trt.Builder(logger)
    explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        raise StopError(f"{path}: {parser.get_error(0)}")
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise StopError(f"{path}: TensorRT built no engine")
    return plan


def cuda_libraries() -> Iterator[str]:
    """CUDA's runtime, where pip has installed it."""
    for folder in sys.path:
        yield from map(str, sorted(Path(folder).glob("nvidia/*/lib/libcudart.so*")))


def gpu_name() -> str:
    """As nvidia-smi tells it; nothing where that is not here, as on Jetsons."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    with contextlib.suppress(OSError):
        lines = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
        if lines:
            return lines[0].strip()
    return "NVIDIA GPU"
