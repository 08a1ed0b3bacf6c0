"""Plain values that cross rooms: scores, plans, errors, and the files they live in."""

from .errors import UserError, check_number
from .figures import check_figures, odd_figure
from .files import append_line, replacing, scratch, sha256, write_json, write_text
from .outputs import check_output, check_output_folder
from .stored import check_stored, read_json, read_stored
from .system import SystemRefusal, refusal, storing
from .threads import check_threads
from .widths import WidthPlan, load_scores, save_scores

__all__ = [
    "SystemRefusal",
    "UserError",
    "WidthPlan",
    "append_line",
    "check_figures",
    "check_number",
    "check_output",
    "check_output_folder",
    "check_stored",
    "check_threads",
    "load_scores",
    "odd_figure",
    "read_json",
    "read_stored",
    "refusal",
    "replacing",
    "save_scores",
    "scratch",
    "sha256",
    "storing",
    "write_json",
    "write_text",
]
