"""Plain values that cross rooms: scores, plans, errors, and the files they live in."""

from .errors import UserError, check_number
from .files import replacing, sha256, write_json, write_text
from .paths import inside
from .stored import check_stored, read_json, read_stored
from .widths import WidthPlan, load_scores, save_scores

__all__ = [
    "UserError",
    "WidthPlan",
    "check_number",
    "check_stored",
    "inside",
    "load_scores",
    "read_json",
    "read_stored",
    "replacing",
    "save_scores",
    "sha256",
    "write_json",
    "write_text",
]
