"""Measure accuracy and latency of a TensorRT engine with TensorRT, cuda-python and NumPy alone.

    python run_tensorrt.py model.engine test.npz

Needs `pip install tensorrt cuda-python numpy` (or tensorrt-rtx) in the version that built the engine, an NVIDIA GPU,
and `model.engine.json` beside the engine. The archive holds `test_images`, uint8 [N, H, W, C] of the network's
size, and `test_labels`, integers [N]. Copy this file to start a deployment of your own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import zipfile
import zlib
from typing import Any

import numpy as np

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
TYPES = ("float32", "float16", "int8", "uint8", "int32", "int64", "bool")
TENSORS = [{"name": str, "dtype": TYPES, "shape": [(int, -1)]}]
CARD = {
    "backend": tuple(MODULES),
    "version": str,
    "flags": {"version_compatible": bool},
    "compute_capabilities": ([str], []),
    "device": ({"name": str}, None),
    "inputs": TENSORS,
    "outputs": TENSORS,
    "profile": {str: {"min": [int], "max": [int]}},
    "metadata": ({str: str}, None),
}
"""Entry of an engine's card -> what it must be, as `fits` says."""
PREPROCESSING = {"input_size": [int, int, int], "mean": [float], "std": [float]}
"""The same of the metadata's `preprocessing`."""


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of `kind`: a type, where int is for sizes, one value, or a tuple of kinds to choose.

    [kind] is a list of at least one item, [kind, kind] of two; {key: kind} is an object with these entries, of which
    absent ones are null, and {str: kind} one with any.
    """
    if isinstance(kind, tuple):
        return any(fits(value, each) for each in kind)
    if isinstance(kind, list):
        kinds = kind * len(value) if isinstance(value, list) and value and len(kind) == 1 else kind
        return isinstance(value, list) and len(kinds) == len(value) and all(map(fits, value, kinds))
    if isinstance(kind, dict):
        pairs = dict.fromkeys(value, kind[str]) if isinstance(value, dict) and str in kind else kind
        return isinstance(value, dict) and all(fits(value.get(key), each) for key, each in pairs.items())
    if kind is int:
        return type(value) is int and 1 <= value <= 65536
    if kind is float:
        return type(value) in (int, float) and abs(value) < 1e30
    return type(value) is kind if isinstance(kind, type) else bool(value == kind)


def told(text: str, name: str, kind: Any) -> Any:
    """What the JSON `text`, called `name`, says; ValueError, which names the entry, unless it is of `kind`."""
    try:
        found = json.loads(text)
        wrong = [] if fits(found, kind) else [(name, found)]
        if wrong and isinstance(found, dict):
            wrong = [(f"{name}: {key}", found.get(key)) for key in kind if not fits(found.get(key), kind[key])]
        said = [f"{place} = {value!r:.60}" for place, value in wrong]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: no JSON that can be read ({error})") from None
    if said:
        raise ValueError(f"{said[0]}, which no export writes; build the engine again")
    return found


def cuda(result: tuple[Any, ...]) -> Any:
    """The value of a call to CUDA's runtime; RuntimeError with its name when it failed."""
    status, *values = result
    if int(status) != 0:
        raise RuntimeError(f"CUDA: {status.name}; is there an NVIDIA GPU with a driver as new as cuda-python?")
    return values[0] if len(values) == 1 else values


def preprocess(images: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W]: scale to 0..1, normalise; unchanged for networks that take pixels."""
    channels, *sides = how["input_size"]
    if list(images.shape[1:]) != [*sides, channels]:
        raise ValueError(f"images of shape {images.shape[1:]}, but the network takes {how['input_size']}; resize first")
    if how.get("input") == "uint8 NHWC":
        return images
    mean, std = (np.array(how[name], np.float32) for name in ("mean", "std"))
    return np.ascontiguousarray(((images.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))


def read(archive: str) -> tuple[np.ndarray, np.ndarray]:
    """`test_images` and `test_labels` of an archive; ValueError where they are not as this script takes them."""
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            images, labels = arrays["test_images"], arrays["test_labels"]
    except (EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{archive}: no .npz that can be read ({error})") from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(f"{archive}: test_images are {images.dtype} {list(images.shape)}; give uint8 [N, H, W, C]")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{archive}: test_labels are {labels.dtype} {list(labels.shape)}; give integers [{len(images)}]"
        )
    if not len(images):
        raise ValueError(f"{archive}: test_images holds no image")
    return images, labels


class Network:
    """Any inputs and outputs that have a batch axis, buffers for the largest batch. Host arrays go in and come out."""

    def __init__(self, path: str, *, trust: bool = False) -> None:
        from cuda.bindings import runtime as cudart

        self.cudart = cudart
        if cuda(cudart.cudaGetDeviceCount()) < 1:
            raise RuntimeError("CUDA: no device")
        with open(f"{path}.json", encoding="utf-8") as file:
            self.card = told(file.read(), f"{path}.json", CARD)
        if odd := [entry["name"] for entry in self.card["inputs"] if entry["name"] not in self.card["profile"]]:
            raise ValueError(f"{path}.json: profile has no sizes of the input {odd[0]!r:.60}; build the engine again")
        trt = importlib.import_module(MODULES[self.card["backend"]])
        if trt.__version__ != self.card["version"] and not self.card["flags"]["version_compatible"]:
            built = f"{self.card['backend']} {self.card['version']}"
            raise RuntimeError(f"{path}: built by {built}, and this is {trt.__version__}; build it again with this one")
        self.logger = trt.Logger(trt.Logger.ERROR)
        self.runtime = trt.Runtime(self.logger)
        if self.card["flags"]["version_compatible"] and not trust:
            raise RuntimeError(f"{path}: carries code that runs on this machine; if you trust it, add --trust-engine")
        if trust:  # never because the card says so
            self.runtime.engine_host_code_allowed = True
        with open(path, "rb") as file:
            self.engine = self.runtime.deserialize_cuda_engine(file.read())
        if self.engine is None:
            listed = ", ".join(self.card["compute_capabilities"]) or "8.6 and later"
            target = (self.card["device"] or {"name": f"compute capability {listed}"})["name"]
            raise RuntimeError(f"{path}: cannot be loaded; it was built for {target}; build it again for this GPU")
        self.context = self.engine.create_execution_context()
        self.inputs, self.outputs = self.card["inputs"], self.card["outputs"]
        profile = self.card["profile"][self.inputs[0]["name"]]
        self.smallest, self.largest = profile["min"][0], profile["max"][0]
        self.stream = cuda(cudart.cudaStreamCreate())
        both = (*self.inputs, *self.outputs)
        self.addresses = {t["name"]: cuda(cudart.cudaMalloc(self.n_bytes(t))) for t in both}
        for name, address in self.addresses.items():
            self.context.set_tensor_address(name, address)

    def n_bytes(self, tensor: dict[str, Any]) -> int:
        """Bytes of a tensor at the largest batch."""
        return self.largest * int(np.prod(tensor["shape"][1:])) * np.dtype(tensor["dtype"]).itemsize

    def put(self, entry: dict[str, Any], values: np.ndarray, batch: int) -> np.ndarray:
        """Start copying `values`, filled up with zeros to `batch` rows, to the input `entry`; returns the copied."""
        rt, missing = self.cudart, batch - len(values)
        values = np.concatenate([values, np.zeros((missing, *values.shape[1:]))]) if missing else values
        values = np.ascontiguousarray(values, entry["dtype"])
        into, kind = self.addresses[entry["name"]], rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        cuda(rt.cudaMemcpyAsync(into, values.ctypes.data, values.nbytes, kind, self.stream))
        self.context.set_input_shape(entry["name"], values.shape)
        return values

    def run(self, feed: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
        """Outputs by name for inputs by name, [batch, ...], and the milliseconds that the network took on the device.

        A batch below the engine's smallest is filled up with zeros; ValueError for one above its largest.
        """
        rt, n_images = self.cudart, len(feed[self.inputs[0]["name"]])
        if n_images > self.largest:
            raise ValueError(
                f"a batch of {n_images}; the engine was built for {self.smallest} to {self.largest} images"
            )
        batch = max(self.smallest, n_images)
        given = [self.put(entry, feed[entry["name"]], batch) for entry in self.inputs]  # kept until they are copied
        start, end = cuda(rt.cudaEventCreate()), cuda(rt.cudaEventCreate())
        cuda(rt.cudaEventRecord(start, self.stream))
        if not self.context.execute_async_v3(int(self.stream)):
            raise RuntimeError("TensorRT did not run")
        cuda(rt.cudaEventRecord(end, self.stream))
        kinds = rt.cudaMemcpyKind
        results = {t["name"]: np.empty((batch, *t["shape"][1:]), t["dtype"]) for t in self.outputs}
        for name, array in results.items():
            out = self.addresses[name]
            cuda(rt.cudaMemcpyAsync(array.ctypes.data, out, array.nbytes, kinds.cudaMemcpyDeviceToHost, self.stream))
        cuda(rt.cudaStreamSynchronize(self.stream))
        del given
        elapsed_ms = cuda(rt.cudaEventElapsedTime(start, end))
        for event in (start, end):
            cuda(rt.cudaEventDestroy(event))
        return {name: array[:n_images] for name, array in results.items()}, elapsed_ms


def main() -> None:
    """Parse the arguments, print the accuracy and the time of a batch."""
    arguments = argparse.ArgumentParser(description="Accuracy and latency of a TensorRT engine, without PyTorch.")
    arguments.add_argument("engine", help="engine of `nncompress export`; its card, ENGINE.json, lies beside it")
    arguments.add_argument("archive", help=".npz with test_images, uint8 [N, H, W, C], and test_labels [N]")
    arguments.add_argument("--trust-engine", action="store_true", help="let a version-compatible engine run its code")
    args = arguments.parse_args()
    try:
        model = Network(args.engine, trust=args.trust_engine)
        metadata = model.card.get("metadata") or {}
        if "preprocessing" not in metadata:
            raise ValueError(f"{args.engine}.json: tells no preprocessing; build the engine from an exported network")
        how = told(metadata["preprocessing"], f"{args.engine}.json: preprocessing", PREPROCESSING)
        if len(model.inputs) + len(model.outputs) != 2:
            raise ValueError(f"{args.engine}: has several inputs or outputs; detectors run in detect_tensorrt.py")
        (into,), (out,) = ([entry["name"] for entry in entries] for entries in (model.inputs, model.outputs))
        images, labels = read(args.archive)
        images = preprocess(images, how)
        hits, times_ms = 0, []
        for start in range(0, len(images), model.largest):
            found, ms = model.run({into: images[start : start + model.largest]})
            hits += int((found[out].argmax(1) == labels[start : start + model.largest]).sum())
            times_ms.append(ms)
    except (OSError, KeyError, ValueError, ImportError, RuntimeError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    print(f"top-1 {100 * hits / len(images):.4f} % of {len(images)} images")
    print(f"median {np.median(times_ms):.3f} ms a batch of {model.largest}, on the device")


if __name__ == "__main__":
    main()
