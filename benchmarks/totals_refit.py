"""Latency tables of whole calls alone, made of measurements that are there: nothing is timed.

The networks of the committed tables of profiles are fitted by their ratios alone, and judged as the tables were: each
network by a fit without its quarter, and on the unseen plans of `latency_prediction`. Of a network whose table is not
kept, the first twenty of those plans make the table, and the others judge it.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from _harness import ROOT, print_rows, save_results
from latency_prediction import PLANS_SEED, networks

RESULTS = ROOT / "benchmarks" / "results"
FITTED = 20
"""Plans that make the table, where there is none."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="results not written")
    return parser.parse_args()


def row_of(name: str, setting: tuple[str, dict[str, Any], int]) -> dict[str, Any]:
    """Both ways' errors on one network."""
    from compress.measure import prediction_error
    from compress.measure.designs import allowed_widths, sample_designs
    from compress.measure.profiling import Timing
    from compress.measure.totals import fit_totals, held_out_totals
    from compress.spaces import make_space, sizes

    kind, arch, side = setting
    space = make_space(kind, arch)
    operators, widths, full = space.operators((3, side, side)), allowed_widths(space.groups, 8), sizes(space.groups)
    plans = json.loads((RESULTS / "latency_prediction.json").read_text())["plans"][name]
    unseen = [
        {"widths": w, "ratio": plan["measured"], "profiles": plan.get("profiles", plan.get("predicted"))}
        for w, plan in zip(sample_designs(widths, len(plans), seed=PLANS_SEED), plans, strict=True)
    ]
    file = RESULTS / f"latency_table_{name}.json"
    table = json.loads(file.read_text()) if file.exists() else None
    designs, unseen = (table["designs"], unseen) if table else (unseen[:FITTED], unseen[FITTED:])
    timings = [Timing(design["widths"], full, design["ratio"], 1.0, 1.0) for design in designs]
    held = prediction_error(held_out_totals(operators, widths, timings).tolist(), [t.ratio for t in timings])
    found, measured = fit_totals({}, operators, widths, timings), [plan["ratio"] for plan in unseen]
    totals = prediction_error([found.predict(operators, plan["widths"]).ratio for plan in unseen], measured)
    profiles = prediction_error([plan["profiles"] for plan in unseen], measured)
    row: dict[str, Any] = {"network": name, "designs": len(designs), "unseen plans": len(unseen)}
    for part in ("median", "p90"):
        row[f"held out, totals: {part}"] = held[part]
        row[f"held out, profiles: {part}"] = table["residual"][part] if table else "-"
        row[f"unseen, totals: {part}"] = totals[part]
        row[f"unseen, profiles: {part}"] = profiles[part]
    return row


def main(args: argparse.Namespace) -> None:
    rows = [row_of(name, setting) for name, setting in networks().items()]
    print_rows("Tables of whole calls alone, of measurements made for tables of profiles", rows)
    if not args.quick:
        print(save_results("totals_refit", rows))


if __name__ == "__main__":
    main(parse())
