"""Where the time of a network and of what is left of it goes, by kinds of operators: what does not shrink with MACs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import _harness  # noqa: F401  (the checkout's library, whatever is installed)

SIDES = ("time before", "time after", "macs before", "macs after")


def by_kind(profile: Any, operators: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows of `kind`, the `time` and the `macs` of both networks, in shares of the unpruned network's; most time first.

    What an engine runs as one layer is of all kinds in it. `rest` belongs to no operator: sums, moves, softmax.

    Args:
        profile: of what is left, a `compress.measure.profiling.Profile`.
        operators: the unpruned network's.
    """
    from compress.costs import macs
    from compress.measure.layers import rows_of
    from compress.measure.regions import JOINT

    known = {op.name: op for op in operators}
    found: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(SIDES, 0.0))
    whole = macs(operators, profile.sizes)
    for layer in rows_of(operators, profile.unpruned, profile.operators):
        names = layer["name"].split(JOINT)
        own = [known[name] for name in names if name in known]
        entry = found[JOINT.join(sorted({op.kind for op in own})) or layer["name"]]
        for side, widths in (("before", profile.sizes), ("after", profile.widths)):
            entry[f"time {side}"] += layer[side]
            entry[f"macs {side}"] += macs(own, widths) / whole
    rows = [{"kind": kind, **{side: round(share, 4) for side, share in each.items()}} for kind, each in found.items()]
    return sorted(rows, key=lambda row: -row["time after"])


def nodes(profile: Any) -> dict[str, int]:
    """How many pieces the engine runs of both networks."""
    sides: Mapping[str, Mapping[str, int]] = {"before": profile.unpruned_nodes, "after": profile.nodes}
    return {side: sum(each.values()) for side, each in sides.items()}
