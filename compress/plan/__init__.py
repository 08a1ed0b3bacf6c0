"""Plain values that cross rooms: scores, plans, errors, and the files they live in."""

from .errors import UserError, brief, check_number, shown, speaking
from .figures import check_figures, odd_figure
from .files import append_line, replacing, scratch, sha256, write_json, write_text
from .genotype import CELL_SPACES, DARTS, NATS, CellSpace, Genotype
from .outputs import check_output, check_output_folder
from .packages import needs
from .paths import inside, path_of
from .registry import Registry
from .settings import Count, Range, Seed, build_settings, check_setting, check_settings
from .shard import Shard
from .stored import Rule, check_stored, parse_stored, read_json, read_lines, read_stored
from .system import SystemRefusal, refusal, storing
from .threads import Threads, Workers
from .widths import WidthPlan, load_scores, save_scores

__all__ = [
    "CELL_SPACES",
    "DARTS",
    "NATS",
    "CellSpace",
    "Count",
    "Genotype",
    "Range",
    "Registry",
    "Rule",
    "Seed",
    "Shard",
    "SystemRefusal",
    "Threads",
    "UserError",
    "WidthPlan",
    "Workers",
    "append_line",
    "brief",
    "build_settings",
    "check_figures",
    "check_number",
    "check_output",
    "check_output_folder",
    "check_setting",
    "check_settings",
    "check_stored",
    "inside",
    "load_scores",
    "needs",
    "odd_figure",
    "parse_stored",
    "path_of",
    "read_json",
    "read_lines",
    "read_stored",
    "refusal",
    "replacing",
    "save_scores",
    "scratch",
    "sha256",
    "shown",
    "speaking",
    "storing",
    "write_json",
    "write_text",
]
