"""Kits: networks to time on a device that has neither this package nor PyTorch, and what comes back from there."""
