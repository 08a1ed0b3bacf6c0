"""Pruning in three rounds against one, at a quarter of the MACs: a small residual network on the digits, 8 x 8 pixels.

Rounds cost searches, so there are two rivals of one round: with as many epochs of search as each of the three rounds
has, and with as many as they have together. All are fine-tuned for 12 epochs in sum. Settings and seeds were fixed
beforehand; accuracy is that on 360 images which nothing else has seen.
"""

from __future__ import annotations

import argparse
from statistics import mean, stdev
from typing import Any

import torch
from _harness import print_rows, save_results
from torch import Tensor, nn
from torch.utils.data import TensorDataset

BASE_EPOCHS, TUNED = 20, 12
ROWS = {
    "rarts, 1 round, 6 epochs": {"steps": 1, "epochs": 6},
    "rarts, 1 round, 18 epochs": {"steps": 1, "epochs": 18},
    "rarts, 3 rounds of 6 epochs": {"steps": 3, "epochs": 6},
    "rarts, 3 rounds of 2 epochs": {"steps": 3, "epochs": 2},
    "magnitude, 1 round": {"steps": 1, "method": "magnitude"},
    "magnitude, 3 rounds": {"steps": 3, "method": "magnitude"},
}


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n)
        self.conv2, self.bn2 = nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, H, W] -> the same."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(x + y)


def network() -> nn.Module:
    """Images [B, 1, 8, 8] -> logits [B, 10]."""
    stem = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    down = [nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
    return nn.Sequential(*stem, Block(16), Block(16), *down, Block(32), Block(32), *head)


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Every fifth image for the test, the others for training."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16 - 0.3
    labels = torch.tensor(found.target, dtype=torch.long)
    test = torch.arange(len(labels)) % 5 == 0
    return TensorDataset(images[~test], labels[~test]), TensorDataset(images[test], labels[test])


def trained(data: TensorDataset, seed: int, epochs: int) -> nn.Module:
    """The unpruned network."""
    torch.manual_seed(seed)
    net, (images, labels) = network(), data.tensors
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    batches = epochs * (len(labels) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches)
    for batch in torch.cat([torch.randperm(len(labels))[: len(labels) // 64 * 64] for _ in range(epochs)]).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def pruned(net: nn.Module, train: Any, test: Any, seed: int, row: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    """The figures of one row."""
    import compress

    steps, method = row["steps"], row.get("method", {"type": "rarts", "order": "fused"})
    sgd = {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}
    found = compress.prune(
        net,
        torch.zeros(1, 1, 8, 8),
        train,
        budget={"macs_ratio": 0.25},
        method=method,
        val_data=test,
        round_to=1,
        steps=steps,
        search={"epochs": 1 if quick else row.get("epochs", 1), "optimizer": sgd},
        finetune={"epochs": 1 if quick else TUNED - (steps - 1), "between": 1, "optimizer": sgd},
        seed=seed,
        quiet=True,
    )
    return {"top1": found.after["top1"], "macs": found.after["macs"] / found.before["macs"]}


def main(args: argparse.Namespace) -> None:
    train, test = digits()
    cells: list[dict[str, Any]] = []
    for seed in range(1 if args.quick else args.seeds):
        net = trained(train, seed, 1 if args.quick else BASE_EPOCHS)
        images, labels = test.tensors
        with torch.no_grad():
            top1 = 100 * float((net(images).argmax(1) == labels).float().mean())
        cells.append({"row": "unpruned", "seed": seed, "top1": round(top1, 4), "macs": 1.0})
        for name, row in ROWS.items():
            cells.append({"row": name, "seed": seed, **pruned(net, train, test, seed, row, quick=args.quick)})
            print(cells[-1], flush=True)
    rows = []
    for name in ("unpruned", *ROWS):
        mine = [cell["top1"] for cell in cells if cell["row"] == name]
        macs = mean(cell["macs"] for cell in cells if cell["row"] == name)
        rows.append({"row": name, "top1": mean(mine), "spread": stdev(mine) if len(mine) > 1 else 0.0, "macs": macs})
    print_rows("A quarter of the MACs of a small network on the digits", rows)
    if not args.quick:
        print(save_results("rounds", rows, cells=cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one seed and one epoch: does it still run?")
    main(parser.parse_args())
