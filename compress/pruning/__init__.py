"""Selection under a budget, and physical slicing. Never imports the search."""

from .planning import plan_for
from .select import Budget, SelectConfig, hash_scores, select
from .slice import fold, slice_model, slice_state

__all__ = ["Budget", "SelectConfig", "fold", "hash_scores", "plan_for", "select", "slice_model", "slice_state"]
