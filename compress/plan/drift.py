"""Whether a machine was quiet while it was measured: a fixed matrix product, timed along the way, tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DRIFT = 0.2
"""From this change of the machine's speed on a measurement counts as disturbed."""


def drifted(reference_ms: Sequence[float]) -> bool:
    """Whether the slowest of the fixed products took more than DRIFT longer than the fastest.

    Example::

        drifted([1.5, 1.6, 1.9])  # True
    """
    return max(reference_ms) > (1 + DRIFT) * min(reference_ms)


def drift_of(table: Mapping[str, Any]) -> str | None:
    """What is to be said of a latency table whose machine was not quiet; None: it was, or the table is merged.

    Merged tables are of several days, on which a machine has other speeds.
    """
    times = table["reference_ms"]
    if table.get("sources", 1) > 1 or not drifted(times):
        return None
    change = max(times) / min(times) - 1
    return f"The machine's speed changed by {100 * change:.0f} % meanwhile: measure again when nothing else runs."
