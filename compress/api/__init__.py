"""The library's face: thin callers of the rooms below."""

from .compare import compare
from .prune import prune
from .result import Pruned

__all__ = ["Pruned", "compare", "prune"]
