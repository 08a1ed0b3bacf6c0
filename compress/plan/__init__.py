"""Plain values that cross rooms: scores, plans, errors, and the files they live in."""

from .errors import UserError, brief, check_number, shown
from .figures import check_figures, odd_figure
from .files import replacing, sha256, write_json, write_text
from .paths import inside
from .settings import Count, Range, build_settings, check_settings
from .stored import Rule, check_stored, parse_stored, read_json, read_lines, read_stored
from .widths import WidthPlan, load_scores, save_scores

__all__ = [
    "Count",
    "Range",
    "Rule",
    "UserError",
    "WidthPlan",
    "brief",
    "build_settings",
    "check_figures",
    "check_number",
    "check_settings",
    "check_stored",
    "inside",
    "load_scores",
    "odd_figure",
    "parse_stored",
    "read_json",
    "read_lines",
    "read_stored",
    "replacing",
    "save_scores",
    "sha256",
    "shown",
    "write_json",
    "write_text",
]
