"""The library's face: thin callers of the rooms below."""

from .compare import compare
from .prune import prune
from .result import Pruned
from .score import Scored, score, select

__all__ = ["Pruned", "Scored", "compare", "prune", "score", "select"]
