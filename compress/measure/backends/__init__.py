"""Backends, one a file: what they run networks with is imported when they do."""

from .base import Backend, LayerBackend, LayerTimes, Network, Times, opens_at_once, tells_layers

__all__ = ["Backend", "LayerBackend", "LayerTimes", "Network", "Times", "opens_at_once", "tells_layers"]
