"""Detectors of MMDetection as one ONNX file, from image to masks, and the check that it answers alike."""

from .convert import export_detector
from .dense import DenseGraph
from .forms import export_forms
from .graph import FORMS, DetectorGraph
from .parity import compare_detections
from .queries import QueryGraph

__all__ = [
    "FORMS",
    "DenseGraph",
    "DetectorGraph",
    "QueryGraph",
    "compare_detections",
    "export_detector",
    "export_forms",
]
