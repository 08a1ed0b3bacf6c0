"""Plain values that cross rooms: scores, plans, errors, and the files they live in."""

from .errors import UserError
from .files import read_json, replacing, sha256, write_json, write_text

__all__ = ["UserError", "read_json", "replacing", "sha256", "write_json", "write_text"]
