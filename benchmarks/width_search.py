"""Every search method on PreResNet-20 and CIFAR-10, at equal MACs, over seeds, with and without distillation.

`--tune` compares settings on held-out training images instead of test images, at one seed. Its settings were chosen
after a table of test images had been seen, so it reads no more of them: new comparisons go by a protocol (rivals.py).
"""

from __future__ import annotations

import argparse
from typing import Any

from _cells import Cells, add_arguments, cells_of, error
from _harness import ROOT, print_rows, save_results

from compress.commands.parser import Parser

RECIPE = ROOT / "recipes" / "width" / "preresnet20_cifar10_rarts.py"
COMMON = [
    "data.type=npz",
    "data.limit=4000",
    "train.epochs=30",
    "train.amp=bf16",
    "search.epochs=6",
    "search.amp=bf16",
    "search.optimizer.lr=0.05",
    "search.alpha_optimizer.lr=0.05",
    "finetune.epochs=2",
    "finetune.amp=bf16",
]
QUICK = ["data.limit=200", "train.epochs=2", "search.epochs=1", "search.warmup_epochs=0", "finetune.epochs=1"]
RATIOS = (0.4, 0.25, 0.2)
"""0.15 is out of reach: with one channel in every scored group, stem, shortcuts and classifier keep 0.183."""


def gates(method: str, gamma: float, *more: str) -> list[str]:
    """Overrides for a method with l1-penalised scores; its type replaces the recipe's."""
    return [f"search.method={{'_delete_': True, {method}}}", f"search.gamma={gamma}", *more]


# Six epochs are 372 steps over all of D, or 186 over its halves: FULL and HALF bring the strength to 3.5 in both.
FULL, HALF = 0.0376, 0.0752
FREE = "search.fixed_scale=False"
GAMMAS = {"": 1.0, " gamma x 3": 3.0}
_FUSED = "'type': 'rarts', 'order': 'fused'"
# Trials of settings, by method; on held-out training images each ratio has its own best.
TRIALS: dict[str, list[str]] = {
    "rarts": gates(_FUSED, HALF),
    "gauss-seidel": gates("'type': 'rarts'", HALF),
    "weights u": gates(_FUSED, HALF, "search.weights=u"),
    "free scale": gates(_FUSED, HALF, FREE),
    "gamma third": gates(_FUSED, HALF / 3),
    "gamma tenth": gates(_FUSED, HALF / 10),
    "beta 0.1": gates(f"{_FUSED}, 'beta': 0.1", HALF),
    "gamma third beta 0.1": gates(f"{_FUSED}, 'beta': 0.1", HALF / 3),
    "gamma x 2": gates(_FUSED, HALF * 2),
    "gamma x 3": gates(_FUSED, HALF * 3),
    "gamma x 5": gates(_FUSED, HALF * 5),
    "gamma x 3 gauss-seidel": gates("'type': 'rarts'", HALF * 3),
    "gamma x 3 weights u": gates(_FUSED, HALF * 3, "search.weights=u"),
    "gamma x 3 beta 0.1": gates(f"{_FUSED}, 'beta': 0.1", HALF * 3),
    "gamma x 3 beta 10": gates(f"{_FUSED}, 'beta': 10.0", HALF * 3),
    "gamma x 3 lam 0.3": gates(f"{_FUSED}, 'lam': 0.3", HALF * 3),
    "gamma x 3 alpha rate fifth": gates(_FUSED, HALF * 15, "search.alpha_optimizer.lr=0.01"),
    "gamma x 2 alpha rate x 10": gates(_FUSED, HALF * 2 / 10, "search.alpha_optimizer.lr=0.5"),
    "gamma x 3 alpha rate x 10": gates(_FUSED, HALF * 3 / 10, "search.alpha_optimizer.lr=0.5"),
    "alpha rate x 10 beta 0.1": gates(f"{_FUSED}, 'beta': 0.1", HALF / 10, "search.alpha_optimizer.lr=0.5"),
    "netslim": gates("'type': 'netslim'", FULL, FREE),
    "netslim gamma third": gates("'type': 'netslim'", FULL / 3, FREE),
    "netslim gamma tenth": gates("'type': 'netslim'", FULL / 10, FREE),
    "netslim gamma x 3": gates("'type': 'netslim'", FULL * 3, FREE),
    "joint": gates("'type': 'joint'", FULL),
    "joint gamma third": gates("'type': 'joint'", FULL / 3),
    "joint alpha rate x 10": gates("'type': 'joint'", FULL / 10, "search.alpha_optimizer.lr=0.5"),
    "joint gamma x 3": gates("'type': 'joint'", FULL * 3),
    "rvsm": gates("'type': 'rvsm', 'penalty': 'l1', 'beta': 1.0", 0.03, FREE),
    "rvsm gamma third": gates("'type': 'rvsm', 'penalty': 'l1', 'beta': 1.0", 0.01, FREE),
    "rvsm gamma x 3": gates("'type': 'rvsm', 'penalty': 'l1', 'beta': 1.0", 0.09, FREE),
    # Norms of filters of different layers do not compare.
    "grouplasso": gates("'type': 'grouplasso'", 1e-3, FREE, "select.ranking=layer"),
    "grouplasso gamma third": gates("'type': 'grouplasso'", 3e-4, FREE, "select.ranking=layer"),
    "grouplasso gamma x 3": gates("'type': 'grouplasso'", 3e-3, FREE, "select.ranking=layer"),
    "darts1": gates("'type': 'darts1'", HALF),
    "darts1 gamma third": gates("'type': 'darts1'", HALF / 3),
    "darts1 alpha rate x 10": gates("'type': 'darts1'", HALF / 10, "search.alpha_optimizer.lr=0.5"),
    "darts1 gamma x 3": gates("'type': 'darts1'", HALF * 3),
}
ADAM = "search.alpha_optimizer={'_delete_': True, 'type': 'Adam', 'lr': 0.02, 'betas': (0.5, 0.999)}"
SETTINGS: dict[str, list[str]] = {
    **TRIALS,
    # A finite difference drowns in bf16.
    **{f"darts2{more}": gates("'type': 'darts2'", HALF * x, "search.amp=None") for more, x in GAMMAS.items()},
    **{f"milenas1{more}": gates("'type': 'milenas1'", HALF * x) for more, x in GAMMAS.items()},
    "tas": gates("'type': 'tas'", 0.0, FREE, ADAM),
    "random": gates("'type': 'random'", 0.0, FREE),
    "magnitude": gates("'type': 'magnitude'", 0.0, FREE),
    "taylor": gates("'type': 'taylor'", 0.0, FREE),
}
METHODS: dict[str, tuple[str, str, str]] = {
    "rarts": ("gamma x 2 alpha rate x 10", "gamma x 2 alpha rate x 10", "gamma x 3 weights u"),
    "joint": ("joint alpha rate x 10", "joint", "joint gamma x 3"),
    "netslim": ("netslim gamma third", "netslim", "netslim"),
    "grouplasso": ("grouplasso", "grouplasso", "grouplasso"),
    "rvsm": ("rvsm", "rvsm", "rvsm"),
    "darts1": ("darts1", "darts1 gamma x 3", "darts1 gamma x 3"),
    "darts2": ("darts2", "darts2 gamma x 3", "darts2 gamma x 3"),
    "milenas1": ("milenas1", "milenas1 gamma x 3", "milenas1 gamma x 3"),
    **{name: (name, name, name) for name in ("tas", "taylor", "magnitude", "random")},
}
"""Method -> its best trial at each of RATIOS; of trials within a point, which another seed could turn round, the one
that is searched for another ratio as well. darts2 and milenas1 take darts1's; the last four have nothing to tune."""


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ", help="CIFAR-10 as docs/formats.md describes .npz data")
    parser.add_argument("--tune", action="store_true", help="trials of settings on held-out training images, seed 0")
    add_arguments(parser, work_dir="width_search")
    return parser.parse_args()


def trials(name: str, args: argparse.Namespace) -> dict[float, str]:
    """Ratio -> the trial that stands for the row `name` there: itself when tuning, else the method's best."""
    return dict.fromkeys(RATIOS, name) if args.tune else dict(zip(RATIOS, METHODS[name], strict=True))


def stages(args: argparse.Namespace) -> tuple[str, ...]:
    """The fine-tunings of a row."""
    return ("finetuned",) if args.tune else ("finetuned", "distilled")


def run(cells: Cells, name: str, args: argparse.Namespace) -> None:
    """All cells of one row of the table."""
    from compress.pruning import Budget

    for ratio, trial in trials(name, args).items():
        searched, settings = trial, SETTINGS[trial]
        if name == "tas":  # its search aims at the MACs, so there is one for each ratio
            searched, settings = f"tas {ratio:.0%}", [*settings, f"search.method.target={ratio}"]
        cells.search(searched, settings)
        cells.prune(trial, Budget("macs_ratio", ratio), settings, searched=searched, stages=stages(args))


def figures(cells: Cells, name: str, args: argparse.Namespace) -> dict[str, Any]:
    """The finished figures of one row."""
    from compress.pruning import Budget

    out: dict[str, Any] = {}
    for ratio, trial in trials(name, args).items():
        found = cells.figures(trial, Budget("macs_ratio", ratio), stages(args))
        search = cells.cell(f"tas {ratio:.0%} search" if name == "tas" else f"{trial} search")
        found |= {"trial": trial, "strength": search and search["strength"]}
        out |= {f"{ratio} {key}": value for key, value in found.items()}
    return out


def main(args: argparse.Namespace) -> None:
    if not (args.tune or args.gather or args.quick):
        raise SystemExit(
            "width_search.py: its settings were chosen after a table of test images had been seen; take --tune or "
            "--gather, and compare on test images by a protocol (rivals.py)"
        )
    names = args.methods or list(TRIALS if args.tune else METHODS)
    options = [*COMMON, f"data.root={args.data}", *(QUICK if args.quick else [])]
    options += ["data.holdout=0.2"] if args.tune else []
    folder, seeds = args.work_dir / ("tune" if args.tune else "test"), [0] if args.tune else args.seeds
    cells = cells_of(args, folder, RECIPE, options, lambda each, name: run(each, name, args), names, seeds)
    if args.shard is not None:
        return  # --gather tells what all jobs have found
    raw = [{"method": name, "seed": each.seed, **figures(each, name, args)} for name in names for each in cells]
    rows = []
    for name in names:
        mine = [row for row in raw if row["method"] == name]
        shown = [key for key in mine[0] if key.endswith(("sliced", "finetuned", "distilled"))]
        rows.append({"method": name, **{key: error([row[key] for row in mine]) for key in shown}})
    print_rows("test error, % (held-out images)" if args.tune else "test error, %", rows)
    if not args.quick:
        print(save_results("width_search_tuning" if args.tune else "width_search", rows, cells=raw))


if __name__ == "__main__":
    main(parse())
