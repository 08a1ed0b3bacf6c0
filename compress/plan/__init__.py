"""Plain values that cross rooms: scores, plans, errors, and the files they live in."""

from .errors import UserError, check_number
from .files import replacing, sha256, write_json, write_text
from .settings import Count, Range, build_settings, check_settings, shown
from .stored import check_stored, read_json, read_stored
from .widths import WidthPlan, load_scores, save_scores

__all__ = [
    "Count",
    "Range",
    "UserError",
    "WidthPlan",
    "build_settings",
    "check_number",
    "check_settings",
    "check_stored",
    "load_scores",
    "read_json",
    "read_stored",
    "replacing",
    "save_scores",
    "sha256",
    "shown",
    "write_json",
    "write_text",
]
