"""Where RARTS's scores settle in both orders of updates, on a model with noisy batches (compress/search/order_bias.py).

Many independent copies of the model, moved by the project's own step; the mean score of the last half of the steps. The
second table has full batches, under optimisers with and without weight decay.
"""

from __future__ import annotations

import argparse
from typing import Any

from _harness import print_rows, save_results

RATES = (0.02, 0.01, 0.005)
ORDERS = ("gauss-seidel", "fused")
SECONDS = 30
"""Of the model's own time, steps times rate: the scores settle in one or two."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few copies, results not written")
    return parser.parse_args()


def noisy(rate: float, order: Any, *, copies: int) -> dict[str, Any]:
    """Mini-batches with targets 1/2 +- 1."""
    from compress.search import Rarts
    from compress.search.order_bias import TARGET, descent, mean_score, predicted_bias

    mean, error = mean_score(
        Rarts(order=order), optimizer=descent(rate), noise=1.0, steps=round(SECONDS / rate), copies=copies, seed=0
    )
    expected = predicted_bias(eta=rate, noise=1.0) if order == "gauss-seidel" else 0.0
    return {"rate": rate, "order": order, "alpha": mean, "standard error": error, "first order": TARGET + expected}


def full(name: str, order: Any) -> dict[str, Any]:
    """All batches at once."""
    import torch

    from compress.search import Rarts
    from compress.search.order_bias import descent, mean_score

    optimizers = {
        "SGD": descent(0.02),
        "SGD, momentum 0.9": descent(0.02, momentum=0.9),
        "SGD, weight decay 0.05": descent(0.02, weight_decay=0.05),
        "AdamW, weight decay 0.05": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.05),
    }
    mean, _ = mean_score(Rarts(order=order), optimizer=optimizers[name], noise=0.0, steps=4000, copies=2, seed=0)
    return {"optimizer": name, "order": order, "alpha": round(mean, 8)}


def main(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    rows = [noisy(rate, order, copies=50 if args.quick else 4000) for rate in RATES for order in ORDERS]
    print_rows("mini-batches: where alpha settles", rows)
    names = ("SGD", "SGD, momentum 0.9", "SGD, weight decay 0.05", "AdamW, weight decay 0.05")
    whole = [full(name, order) for name in names for order in ORDERS]
    print_rows("full batches", whole)
    if not args.quick:
        print(save_results("order_bias", rows, full_batches=whole))


if __name__ == "__main__":
    main(parse())
