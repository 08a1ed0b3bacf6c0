"""Plain values that cross rooms: scores, plans, errors, and the files they live in."""

from .errors import UserError, check_number
from .figures import check_figures, odd_figure
from .files import replacing, sha256, write_json, write_text
from .stored import check_stored, read_json, read_stored
from .widths import WidthPlan, load_scores, save_scores

__all__ = [
    "UserError",
    "WidthPlan",
    "check_figures",
    "check_number",
    "check_stored",
    "load_scores",
    "odd_figure",
    "read_json",
    "read_stored",
    "replacing",
    "save_scores",
    "sha256",
    "write_json",
    "write_text",
]
