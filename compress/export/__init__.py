"""PyTorch module -> ONNX file -> ONNX Runtime session, and the check that both answer alike."""

from .onnx_file import INPUT_NAME, OUTPUT_NAME, ExportConfig, export_onnx, inference_copy
from .parity import ParityError, compare_with_onnx
from .session import onnx_session

__all__ = [
    "INPUT_NAME",
    "OUTPUT_NAME",
    "ExportConfig",
    "ParityError",
    "compare_with_onnx",
    "export_onnx",
    "inference_copy",
    "onnx_session",
]
