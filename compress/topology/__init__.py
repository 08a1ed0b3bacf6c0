"""Topology search (thesis, chapter 3): cells found by their edges' scores, retrained, and pruned like any network."""
