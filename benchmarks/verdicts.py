"""What the seeds of a committed result allow to say: one method against every other, paired by seed.

python benchmarks/verdicts.py benchmarks/results/width_search.json --method rarts --figure "0.25 finetuned"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from _seeds import p_value, paired, verdict


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="with `cells`: a method, a seed and figures each")
    parser.add_argument("--method", required=True)
    parser.add_argument("--figure", required=True, help="a key of the cells; larger is better")
    return parser.parse_args()


def by_seed(cells: list[dict[str, Any]], figure: str) -> dict[str, dict[int, float]]:
    """{method: {seed: figure}} of the cells that have it."""
    found: dict[str, dict[int, float]] = {}
    for cell in cells:
        if cell.get(figure) is not None:
            found.setdefault(cell["method"], {})[cell["seed"]] = cell[figure]
    return found


def main(args: argparse.Namespace) -> None:
    found = by_seed(json.loads(args.results.read_text())["cells"], args.figure)
    ours = found.pop(args.method)
    for other, theirs in found.items():
        difference = paired(ours, theirs)
        chance = p_value(difference)
        print(verdict(args.method, other, difference) + ("" if chance is None else f" p = {chance:.2g}"))


if __name__ == "__main__":
    main(parse())
