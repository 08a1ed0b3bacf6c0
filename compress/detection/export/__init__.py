"""Two-stage detectors of MMDetection as one ONNX file, from image to masks, and the check that it answers alike."""

from .convert import export_detector
from .forms import export_forms
from .graph import FORMS, DetectorGraph
from .parity import compare_detections

__all__ = ["FORMS", "DetectorGraph", "compare_detections", "export_detector", "export_forms"]
