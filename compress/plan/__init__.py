"""Plain values that cross rooms: scores, plans, errors, and the files they live in."""

from .errors import UserError, check_number
from .files import read_json, replacing, sha256, write_json, write_text
from .widths import WidthPlan, load_scores, save_scores

__all__ = [
    "UserError",
    "WidthPlan",
    "check_number",
    "load_scores",
    "read_json",
    "replacing",
    "save_scores",
    "sha256",
    "write_json",
    "write_text",
]
