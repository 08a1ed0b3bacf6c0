"""Any network's groups: found by torch-pruning's graph, and verified on the network itself."""

from .discover import groups_of, traced
from .finding import Groups
from .verify import largest_gap, masked_outputs, outputs_of, randomise

__all__ = ["Groups", "groups_of", "largest_gap", "masked_outputs", "outputs_of", "randomise", "traced"]
