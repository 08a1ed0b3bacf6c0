"""Why one method's networks are better than another's: its scores, the weights that it leaves, or how sizes are chosen.

The network of one method is pruned by the scores of another, for every pair of two methods of a protocol, with both
ways to size groups, under every budget of MACs, and fine-tuned as the protocol's trials are. Judged on the images that
its trials set aside: no test image is read. A killed run goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results
from _protocol import Protocol, kept
from _rival import Rival
from _searched import key_of
from _seeds import interval

METHODS = {"rarts": {"search": {"gamma": 0.001}}, "taylor": {"select": {"ranking": "global"}}}
"""Method -> the trial that is taken apart."""
GAINS = ("balanced", "measured")
SEEDS = (81, 82, 83)
"""Of search and fine-tuning; the images set aside stay those of the trials, which the baseline has not seen."""
NAME = "scores_or_weights"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", type=Path)
    parser.add_argument("--checkpoint", required=True, metavar="F", help="adapted without the images set aside")
    parser.add_argument("--data", required=True, metavar="ROOT", help="of the images")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--gather", action="store_true", help="print what is finished")
    return parser.parse_args()


def main() -> None:
    import torch

    torch.set_num_threads(1)
    args = parse()
    protocol = Protocol.load(args.protocol)
    folder = ROOT / "benchmarks" / "results" / NAME
    if args.gather:
        gather(folder)
        return
    for seed in args.seeds:
        of_seed(protocol, args, seed, folder)


def of_seed(protocol: Protocol, args: argparse.Namespace, seed: int, folder: Path) -> None:
    """Every cell of one seed that is not there yet."""
    values, tuning = protocol.values, protocol.values["tuning"]
    rival = Rival(
        {**values, "finetune": {**values["finetune"], **tuning.get("finetune", {})}},
        args.data,
        args.checkpoint,
        ROOT / "runs" / "baselines",
        tuning["seed"],
        tuning["holdout"],
    )
    _ = rival.data  # of the trials' seed
    rival.seed = seed
    budgets = [each for each in values["budgets"] if each.startswith("macs")]
    for scores, weights, gain, budget in itertools.product(METHODS, METHODS, GAINS, budgets):
        cell = {"scores": scores, "weights": weights, "gain": gain, "budget": budget, "seed": seed}
        file = folder / f"{budget} {scores} on {weights} {gain} {seed}.json"
        kept(file, lambda c=cell: {**c, **judged(rival, c)}, protocol_sha256=protocol.hash)


def judged(rival: Rival, cell: dict[str, Any]) -> dict[str, float]:
    """Figures of the network of `cell["weights"]`, sized and pruned by `cell["scores"]`."""
    from compress.engine.searching import Found
    from compress.pruning import Budget

    settings = {name: {**rival.protocol["methods"][name], **trial} for name, trial in METHODS.items()}
    found = {
        name: rival.found(name, each, lambda n=name, e=each: rival.search(n, e)) for name, each in settings.items()
    }
    scores, weights = cell["scores"], cell["weights"]
    mixed = Found(found[scores].scores, found[weights].network, {})
    own = settings[scores].get("select", {})
    select = rival.selection({"select": {**own, "gain": cell["gain"]}})
    harms = None
    if cell["gain"] == "measured":
        key = key_of("harms", scores, settings[scores], weights=weights, of=settings[weights]["method"])
        harms = rival.searched.once(key, lambda: rival.harms(scores, settings[scores], mixed, select.images))
    budget = Budget("macs_ratio", float(cell["budget"].removeprefix("macs-")))
    small, _ = rival.sliced(mixed, select, budget, harms)
    return {"whole": rival.figure(mixed.network), **rival.finished(small, scores)}


def gather(folder: Path) -> None:
    """Means over seeds, with 95 % intervals where there are several."""
    cells = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    keys = ("budget", "gain", "scores", "weights")
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell[key] for key in keys), []).append(cell)
    rows = [
        {
            **dict(zip(keys, key, strict=True)),
            "seeds": len(mine),
            **{
                name: interval([c[name] for c in mine]).shown(2) for name in ("params_ratio", "whole", "sliced", "top1")
            },
        }
        for key, mine in sorted(groups.items(), reverse=True)
    ]
    print_rows("images set aside", rows)
    print(save_results(NAME, rows, cells=cells))


if __name__ == "__main__":
    main()
