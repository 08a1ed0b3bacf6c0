"""Is a network that is pruned with all defaults faster? Every row must be.

Rows: networks at budgets of MACs, parameters and channels, 0.7, 0.5 and 0.35 of them kept. Scores are random, widths
are what `select.round_to="auto"` makes of them for the engine on this machine. Every network is timed in turn with the
unpruned one; `realised` is the ratio of MACs over the measured one, what of their promise came true.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results
from realised_speedup import scores_of

KEPT = (0.7, 0.5, 0.35)
COSTS = ("macs", "params", "channels")
TARGETS = {"realised": 0.8, "down to": 0.5}
REPEATS = 60


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(networks()), metavar="N", help="only these")
    parser.add_argument("--backend", default="onnxruntime", help="its name in recipes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--round-to", type=int, help="multiples of this in place of the default, for comparison")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "defaults", metavar="D")
    parser.add_argument("--quick", action="store_true", help="one network, few samples, results not written")
    return parser.parse_args()


def networks() -> dict[str, tuple[str, dict[str, Any], int]]:
    """Name -> the space, its settings, and the side of the images."""
    swin = {"window_size": 4, "embed_dim": 64, "depths": (2, 2, 2), "num_heads": (2, 4, 8)}
    return {
        "PreResNet-20": ("preresnet", {"depth": 20, "num_classes": 10}, 32),
        "MobileNetV2, 64 px": ("mobilenetv2", {"num_classes": 20}, 64),
        "MobileNetV2, 224 px": ("mobilenetv2", {"num_classes": 1000}, 224),
        "Swin-2M": (
            "swin",
            {"num_classes": 20, "model": "swin_tiny_patch4_window7_224", "input_size": 64, "options": swin},
            64,
        ),
        "DeiT-Ti": ("vit", {"num_classes": 1000, "model": "deit_tiny_patch16_224"}, 224),
    }


def budget_of(cost: str, kept: float) -> Any:
    """The budget that keeps this share of a cost."""
    from compress.pruning import Budget

    return Budget("pruning_ratio", round(1 - kept, 4)) if cost == "channels" else Budget(f"{cost}_ratio", kept)


def rows_of(name: str, setting: tuple[str, dict[str, Any], int], file: Path, args: argparse.Namespace) -> list[Any]:
    """The rows of one network; finished ones are read from `file`, which is written after each of the others."""
    from compress.measure import PlanTimer
    from compress.plan import UserError, read_json, write_json
    from compress.spaces import make_space

    kind, arch, side = setting
    space, size = make_space(kind, arch), (3, side, side)
    rows: list[dict[str, Any]] = read_json(file) if file.exists() else []
    done = {(row["budget"], row["kept"]) for row in rows}
    left = [(cost, kept) for cost in COSTS for kept in KEPT if (cost, kept) not in done]
    if not left:
        return rows
    with PlanTimer.open(space, size, threads=args.threads, backend=args.backend) as timer:
        for cost, kept in left:
            try:
                found = row_of(space, size, cost, kept, timer, args)
            except UserError as error:
                found = {"round_to": None, "refused": str(error)}
            rows.append({"network": name, "budget": cost, "kept": kept, **found})
            write_json(file, rows)
            print(rows[-1], flush=True)
    return rows


def row_of(space: Any, size: Any, cost: str, kept: float, timer: Any, args: argparse.Namespace) -> dict[str, Any]:
    """One network under one budget."""
    from compress.measure import summarise_ratio
    from compress.measure.blocks import block_of
    from compress.plan.backends import BACKENDS
    from compress.pruning import SelectSection, config_for, plan_for
    from compress.report import wording

    budget, section = budget_of(cost, kept), SelectSection(round_to=args.round_to or "auto")
    block = block_of(BACKENDS.need("--backend", args.backend).blocks, {group.kind for group in space.groups})
    config = config_for(space, budget, section, block, input_size=size)
    plan = plan_for(space, scores_of(space), budget, config, input_size=size)
    turns = timer.turns(plan.widths, repeats=6 if args.quick else REPEATS)
    unpruned, pruned = ([ms for turn in turns for ms in turn[side]] for side in ("unpruned", "pruned"))
    ratio = {key: round(value, 4) for key, value in summarise_ratio(unpruned, pruned).items()}
    shares = {name: plan.record[name]["after"] / plan.record[name]["before"] for name in ("macs", "params")}
    return {
        "round_to": f"{config.round_to}{' and parts' if config.finer else ''}",
        **{f"{name}_ratio": round(share, 4) for name, share in shares.items()},
        "measured": ratio["median"],
        "p10": ratio["p10"],
        "p90": ratio["p90"],
        "faster": wording.verdict(ratio),
        "realised": round(shares["macs"] / ratio["median"], 3),
    }


def main(args: argparse.Namespace) -> None:
    import tempfile

    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as nowhere:
        folder = Path(nowhere) if args.quick else args.work_dir
        folder.mkdir(parents=True, exist_ok=True)
        names = ["PreResNet-20"] if args.quick else args.networks or list(networks())
        suffix = "".join(
            f"_{part}" for part in (args.backend, args.threads, *([args.round_to] if args.round_to else []))
        )
        files = {name: folder / f"{name.replace(', ', '_').replace(' ', '')}{suffix}.json" for name in names}
        rows = [row for name, file in files.items() for row in rows_of(name, networks()[name], file, args)]
    shown = ("network", "budget", "kept", "round_to", "macs_ratio", "measured", "p10", "p90", "faster", "realised")
    print_rows(
        f"Pruned with all defaults, in {args.backend}", [{key: row.get(key, "") for key in shown} for row in rows]
    )
    timed = [row for row in rows if "faster" in row]
    slow = [row for row in timed if row["faster"] != "faster"]
    kept = [row for row in timed if row["kept"] >= TARGETS["down to"]]
    short = [row for row in kept if row["realised"] < TARGETS["realised"]]
    print(f"{len(slow)} of {len(timed)} rows are not faster; {len(short)} realise less than {TARGETS['realised']:g}")
    if not args.quick:
        name = "defaults" if args.backend == "onnxruntime" else f"defaults_{args.backend}"
        print(save_results(f"{name}_{args.round_to}" if args.round_to else name, rows, targets=TARGETS))


if __name__ == "__main__":
    main(parse())
