"""Search methods: one small step function each, in the papers' order and symbols."""

from .netslim import NetSlim, OneSet, netslim_step
from .rarts import Rarts, TwoSets, rarts_step

METHODS = {"rarts": Rarts, "netslim": NetSlim}
"""Recipe name -> the method's parameters."""

__all__ = ["METHODS", "NetSlim", "OneSet", "Rarts", "TwoSets", "netslim_step", "rarts_step"]
