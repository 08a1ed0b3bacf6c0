"""Made-up latency tables: costs grow with widths, faster than linearly on one side and slower on the other."""

from compress.costs import LatencyTable
from compress.costs.latency import UNTIMED, OperatorCosts
from compress.measure.fitting import side_grid
from compress.spaces import named_sides, plain_sides


def made_up_table(space, input_size, *, multiple=4, factors=None):
    """A table of `space` on widths that are multiples; `factors` {operator: factor} make operators dearer, 1 else."""
    widths = {group.name: [*range(multiple, group.size, multiple), group.size] for group in space.groups}
    widths |= {group.name: [0, *widths[group.name]] for group in space.groups if group.rest is not None}
    operators = [op for op in space.operators(input_size) if op.kind not in UNTIMED]
    costs = {}
    for op in operators:
        n_in, n_out = (side_grid(side, widths).astype(float) for side in plain_sides(op))
        factor = (factors or {}).get(op.name, 1)
        costs[op.name] = factor * (op.macs or 9) * n_in[:, None] ** 0.9 * n_out[None, :] ** 1.1
    whole = sum(cost[-1, -1] for cost in costs.values())
    found = {op.name: OperatorCosts(*named_sides(op), 0.95 * costs[op.name] / whole) for op in operators}
    key = {"device": "none", "backend": "none", "input_size": list(input_size), "space": space.name, "arch": space.arch}
    return LatencyTable(key, 10.0, widths, found, 0.05)
