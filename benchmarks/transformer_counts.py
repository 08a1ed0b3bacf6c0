"""Parameters and MACs of Swin and DeiT at 224 pixels, every group pruned by the same share; nothing is timed.

Each network is counted twice: by the formulas of table 4.3 at the plan's widths, and on the sliced network. Beside them
stand the thesis's own figures (tables 4.4 to 4.6), whose plans are not known: their scores came from trained searches.
"""

from __future__ import annotations

import argparse
from typing import Any

from _harness import print_rows, save_results

SIDE = (3, 224, 224)
RATIOS = (0.0, 0.2, 0.4, 0.6, 0.8)
NETWORKS = (
    ("Swin-T", "swin", "swin_tiny_patch4_window7_224", 1000),
    ("Swin-T", "swin", "swin_tiny_patch4_window7_224", 100),
    ("Swin-T", "swin", "swin_tiny_patch4_window7_224", 20),
    ("Swin-S", "swin", "swin_small_patch4_window7_224", 1000),
    ("Swin-B", "swin", "swin_base_patch4_window7_224", 1000),
    ("DeiT-S", "vit", "deit_small_patch16_224", 1000),
)
THESIS = {
    ("Swin-T", 100): ("4.4", (27.60, 23.28, 17.89, 11.92, 7.17), (4.49, 3.53, 2.60, 1.73, 0.92)),
    ("Swin-T", 20): ("4.5", (27.53, 20.34, 14.61, 10.06, 5.93), (4.49, 3.65, 2.82, 1.93, 1.09)),
}
"""(network, classes) -> table, M parameters and GFLOPS at RATIOS: whole networks with their classifiers."""
THESIS_BACKBONE = {0.0: 28, 0.2: 22, 0.4: 16}
"""Table 4.6: M parameters of the detector's Swin-T, which has no classifier."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first network at two ratios, nothing written")
    return parser.parse_args()


def planned(space: Any, ratio: float) -> Any:
    """The plan that removes `ratio` of every group, as near as whole dimensions allow; None for nothing."""
    import torch

    from compress.pruning import Budget, SelectConfig, plan_for

    if not ratio:
        return None
    scores = {group.name: torch.ones(group.size) for group in space.groups}
    return plan_for(space, scores, Budget("pruning_ratio", ratio), SelectConfig(ranking="layer"), input_size=SIDE)


def counts(space: Any, network: Any, ratio: float) -> dict[str, Any]:
    """Widths and costs of `network` pruned by `ratio`, counted on it and by formula, and the difference to the unit."""
    from compress.costs import count_macs, count_params, macs, params
    from compress.pruning import slice_model
    from compress.spaces import sizes

    plan = planned(space, ratio)
    small, small_space = slice_model(network, space, plan) if plan else (network, space)
    operators, widths = space.operators(SIDE), sizes(small_space.groups)
    formula = {"params": params(operators, widths), "macs": macs(operators, widths)}
    counted = {"params": count_params(small), "macs": count_macs(small, SIDE)}
    heads = {group.size for group in small_space.groups if group.kind == "attention"}
    kept = sum(widths.values()) / sum(sizes(space.groups).values())
    return {
        "head_dims": sorted(heads),
        "kept": round(kept, 5),
        "params": counted["params"],
        "params_backbone": counted["params"] - count_params(small.head),
        "macs": counted["macs"],
        **{f"{cost}_formula": value for cost, value in formula.items()},
        **{f"{cost}_difference": counted[cost] - value for cost, value in formula.items()},
    }


def thesis(name: str, n_classes: int, ratio: float) -> dict[str, Any]:
    """What the thesis prints for this row; None where it has no such row."""
    nothing = (None,) * len(RATIOS)
    table, m_params, gflops = THESIS.get((name, n_classes), (None, nothing, nothing))
    row = RATIOS.index(ratio)
    backbone = THESIS_BACKBONE.get(ratio) if name == "Swin-T" else None
    return {"table": table, "m_params": m_params[row], "gflops": gflops[row], "m_params_backbone": backbone}


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row of the printed table."""
    theirs = row["thesis"]
    printed = f"{theirs['m_params']:.2f}, {theirs['gflops']:.2f} ({theirs['table']})" if theirs["table"] else ""
    return {
        "network": row["network"],
        "classes": str(row["classes"]),
        "pruned": f"{row['ratio']:.0%}",
        "head": "-".join(str(width) for width in row["head_dims"]),
        "M params": f"{row['params'] / 1e6:.2f}",
        "GMACs": f"{row['macs'] / 1e9:.2f}",
        "counted - formula": f"{row['params_difference']}, {row['macs_difference']}",
        "thesis M, G": printed,
        "backbone M": f"{row['params_backbone'] / 1e6:.2f}",
        "thesis (4.6)": str(theirs["m_params_backbone"] or ""),
    }


def main(args: argparse.Namespace) -> None:
    import timm
    import torch

    from compress.spaces import make_space

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows: list[dict[str, Any]] = []
    for name, kind, model, n_classes in NETWORKS[:1] if args.quick else NETWORKS:
        space = make_space(kind, {"num_classes": n_classes, "model": model})
        network = space.build().eval()
        for ratio in RATIOS[:2] if args.quick else RATIOS:
            head = {"network": name, "classes": n_classes, "ratio": ratio}
            rows.append({**head, **counts(space, network, ratio), "thesis": thesis(name, n_classes, ratio)})
    print_rows("Parameters and MACs at 224 pixels", [shown(row) for row in rows])
    if not args.quick:
        print(save_results("transformer_counts", rows, timm=timm.__version__))


if __name__ == "__main__":
    main(parse())
