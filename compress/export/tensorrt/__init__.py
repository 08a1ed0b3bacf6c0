"""ONNX file -> TensorRT engine -> its runner: TensorRT 10, TensorRT 11 and TensorRT-RTX through one implementation."""

from .backend import import_fault, load_backend
from .build import build_engine
from .card import card_path, load_engine_card
from .config import EngineConfig
from .device import cuda_device
from .runner import Engine

__all__ = [
    "Engine",
    "EngineConfig",
    "build_engine",
    "card_path",
    "cuda_device",
    "import_fault",
    "load_backend",
    "load_engine_card",
]
