"""PyTorch module -> ONNX file -> ONNX Runtime session or TensorRT engine, and the check that both answer alike."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .half import export_half, half_model
from .int8 import Int8Config, quantize_int8
from .onnx_file import INPUT_NAME, OUTPUT_NAME, ExportConfig, export_onnx, inference_copy
from .parity import ParityError, compare_with_onnx
from .pixels import export_pixels, network_input
from .session import onnx_session

if TYPE_CHECKING:
    from .tensorrt import Engine, EngineConfig, build_engine, cuda_device

TENSORRT = ("Engine", "EngineConfig", "build_engine", "cuda_device")


def __getattr__(name: str) -> Any:
    """What belongs to TensorRT is imported when it is asked for."""
    if name in TENSORRT:
        return getattr(import_module(".tensorrt", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "INPUT_NAME",
    "OUTPUT_NAME",
    "Engine",
    "EngineConfig",
    "ExportConfig",
    "Int8Config",
    "ParityError",
    "build_engine",
    "compare_with_onnx",
    "cuda_device",
    "export_half",
    "export_onnx",
    "export_pixels",
    "half_model",
    "inference_copy",
    "network_input",
    "onnx_session",
    "quantize_int8",
]
