"""Tables and one self-contained HTML page, made from the files of a run folder alone."""

from .figures import print_figures
from .metrics import read_metrics
from .page import write_report
from .table_page import write_table_report
from .terminal import print_summary, summary_table

__all__ = ["print_figures", "print_summary", "read_metrics", "summary_table", "write_report", "write_table_report"]
