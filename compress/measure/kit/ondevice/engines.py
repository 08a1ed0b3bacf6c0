"""The engines that a device may have, each opened only where it is asked for or found."""

from __future__ import annotations

import functools
import importlib.util
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .turns import in_turn


class StopError(Exception):
    """What a user can mend; its text is all that is shown."""


class Engine:
    """Opens networks and calls them: `provider` is what runs them, and `device` its name where it is no processor."""

    backend: str
    versions: dict[str, str]
    provider: str = ""
    device: str = ""

    def time(self, pair: Mapping[str, Path], images: np.ndarray, args: Namespace) -> dict[str, list[float]]:
        """{name: samples in milliseconds} of the files `pair` {name: path}, opened anew and called in turn."""
        calls = {name: self.open(path, images) for name, path in pair.items()}
        return in_turn(calls, repeats=args.rounds, warmup_seconds=args.warmup)

    def open(self, path: Path, images: np.ndarray) -> Callable[[], object]:
        """A function that calls the network in `path` with `images`."""
        raise NotImplementedError


class OnnxRuntime(Engine):
    """Any execution provider: --provider names it, else the first that runs networks here."""

    backend = "onnxruntime"
    elsewhere = ("AzureExecutionProvider",)

    def __init__(self, args: Namespace) -> None:
        import onnxruntime

        self.ort, self.threads = onnxruntime, args.threads
        known = [name for name in onnxruntime.get_available_providers() if name not in self.elsewhere]
        self.provider = args.provider or known[0]
        if self.provider not in known:
            raise StopError(f"--provider {self.provider}: not in this onnxruntime; choose from {', '.join(known)}")
        self.versions = {"onnxruntime": onnxruntime.__version__}

    def open(self, path: Path, images: np.ndarray) -> Callable[[], object]:
        """Its worker threads stop spinning when a call returns, or an idle session would take cores from the other."""
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 4
        session = self.ort.InferenceSession(str(path), options, providers=[self.provider])
        if session.get_providers()[0] != self.provider:
            raise StopError(f"--provider {self.provider}: does not start here; its libraries may be missing")
        feed = {session.get_inputs()[0].name: images}
        return lambda: session.run(None, feed)


class OpenVino(Engine):
    """--provider names one of OpenVINO's devices, else its CPU."""

    backend = "openvino"

    def __init__(self, args: Namespace) -> None:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it tells of every import
        import openvino

        self.core, self.threads, self.provider = core(openvino), args.threads, args.provider or "CPU"
        known = self.core.available_devices
        if self.provider not in known:
            raise StopError(
                f"--provider {self.provider}: not a device of this OpenVINO; choose from {', '.join(known)}"
            )
        if self.provider != "CPU":
            self.device = str(self.core.get_property(self.provider, "FULL_DEVICE_NAME"))
        self.versions = {"openvino": openvino.__version__.partition("-")[0]}

    def open(self, path: Path, images: np.ndarray) -> Callable[[], object]:
        """One stream, in float32."""
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if self.provider == "CPU":
            settings = {
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": self.threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
            }
        request = self.core.compile_model(str(path), self.provider, settings).create_infer_request()
        return lambda: request.infer([images])


@functools.lru_cache(maxsize=1)
def core(openvino: Any) -> Any:
    """The one Core of a process: signals end it after a second one has gone."""
    return openvino.Core()


def installed(module: str) -> bool:
    """Whether Python finds `module`, which is not imported."""
    return importlib.util.find_spec(module) is not None
