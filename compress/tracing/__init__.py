"""Any network's groups: found by torch-pruning's graph, and verified on the network itself."""

from .discover import Groups, groups_of, traced

__all__ = ["Groups", "groups_of", "traced"]
