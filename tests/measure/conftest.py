"""Kits: the fixtures of kits.py."""

from kits import kit, whole

__all__ = ["kit", "whole"]
