"""A finished search of cells, made as a user makes it."""

from cell_runs import cell_run

__all__ = ["cell_run"]
