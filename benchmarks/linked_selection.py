"""Selection for traced networks whose streams link their groups: processor seconds, one thread, and the score kept.

Random scores, or `tied` ones: one value for all channels of a group. Budgets of MACs, widths in multiples of 8 and,
with the balanced gain, exact ones (with the plain sum those are a threshold's).
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from _harness import print_rows, save_results
from selection import scores_of

NETWORKS = ("mobilenetv3_large_100", "efficientnet_b0", "resnet50", "densenet121")
SETTINGS = ((8, "sum"), (8, "balanced"), (1, "balanced"))
SHARES = (0.7, 0.5, 0.35)
SIZE = (3, 224, 224)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first network at one budget, results not written")
    return parser.parse_args()


def rows_of(name: str, shares: tuple[float, ...]) -> list[dict[str, Any]]:
    """A row for every setting and kind of scores."""
    from compress.pruning import Budget, SelectConfig, plan_for
    from compress.spaces import TracedSpace
    from compress.tracing import traced

    bare = TracedSpace(num_classes=1000, model=name)
    space = traced(bare, SIZE, network=bare.build().eval())
    rows = []
    for round_to, gain in SETTINGS:
        for spread in ("random", "tied"):
            scores = scores_of(space, spread)
            whole = sum(float(s.double().abs().sum()) for s in scores.values())
            seconds, kept = [], []
            for share in shares:
                config = SelectConfig(round_to=round_to, gain=gain)
                start = time.process_time()
                plan = plan_for(space, scores, Budget("macs_ratio", share), config, input_size=SIZE)
                seconds.append(time.process_time() - start)
                left = sum(float(scores[group][list(own)].double().abs().sum()) for group, own in plan.kept.items())
                kept.append(round(left / whole, 4))
            rows.append(
                {
                    "network": name,
                    "groups": len(scores),
                    "round_to": round_to,
                    "gain": gain,
                    "scores": spread,
                    **{f"kept at {share}": value for share, value in zip(shares, kept, strict=True)},
                    "longest": round(max(seconds), 2),
                }
            )
    return rows


def main(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    networks, shares = (NETWORKS[:1], SHARES[1:2]) if args.quick else (NETWORKS, SHARES)
    rows = [row for name in networks for row in rows_of(name, shares)]
    print_rows("selection with linked groups", rows)
    if not args.quick:
        print(save_results("linked_selection", rows))


if __name__ == "__main__":
    main(parse())
