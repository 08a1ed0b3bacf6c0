"""Selection under a budget, and physical slicing. Never imports the search."""

from .budget import STEPS, Budget
from .limits import Priced
from .planning import config_for, plan_for
from .ranking import SelectConfig
from .rounding import SelectSection
from .select import check_reachable, hash_scores, select
from .slice import slice_model, slice_state

__all__ = [
    "STEPS",
    "Budget",
    "Priced",
    "SelectConfig",
    "SelectSection",
    "check_reachable",
    "config_for",
    "hash_scores",
    "plan_for",
    "select",
    "slice_model",
    "slice_state",
]
