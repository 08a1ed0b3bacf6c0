"""How far the sliced network's outputs lie from the masked one's: random networks, random plans, float32.

A network's pruned channels are multiplied by 0 (the masked one), or cut out of its tensors (the sliced one). The
error is the largest difference over the largest output.
"""

from __future__ import annotations

import argparse
import statistics
from copy import deepcopy
from typing import Any

from _harness import print_rows, save_results


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=40, help="of each network")
    parser.add_argument("--quick", action="store_true", help="one plan of the smallest network, nothing written")
    return parser.parse_args()


def spaces() -> dict[str, tuple[Any, int]]:
    """Network -> its space and the side of its images."""
    from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace, VitSpace

    swin = {"patch_size": 4, "window_size": 4, "embed_dim": 64, "depths": (2, 2, 2), "num_heads": (2, 4, 8)}
    vit = {"patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 3}
    return {
        "PreResNet-20": (PreResNetSpace(20, 10), 32),
        "PreResNet-164": (PreResNetSpace(164, 10), 32),
        "MobileNetV2": (MobileNetV2Space(10), 64),
        "Swin": (SwinSpace(10, "swin_tiny_patch4_window7_224", input_size=64, options=swin), 64),
        "ViT": (VitSpace(10, "deit_small_patch16_224", input_size=64, options=vit), 64),
    }


def randomised(space: Any) -> Any:
    """A network whose BatchNorms have statistics and affine parameters of their own."""
    from torch import nn

    network = space.build()
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.5)
        norm.running_mean.normal_(std=0.5)
        norm.running_var.uniform_(0.5, 2.0)
    return network.eval()


def error(space: Any, network: Any, images: Any, seed: int) -> float:
    """Of one random plan, which keeps any number of channels of every group."""
    import torch

    from compress.plan import WidthPlan
    from compress.pruning import slice_model
    from compress.spaces import Alphas, sizes

    generator = torch.Generator().manual_seed(seed)
    full, kept, scores = sizes(space.groups), {}, {}
    for name, n in full.items():
        width = int(torch.randint(1, n + 1, (), generator=generator))
        kept[name] = tuple(sorted(torch.randperm(n, generator=generator)[:width].tolist()))
        scores[name] = torch.zeros(n).index_fill_(0, torch.tensor(kept[name]), 1.0)
    masked, alphas = deepcopy(network), Alphas(space.groups)
    alphas.load_scores(scores)
    alphas.attach(masked)
    sliced, _ = slice_model(network, space, WidthPlan(space.name, full, kept))
    with torch.no_grad():
        wanted, found = masked(images), sliced(images)
    return float((found - wanted).abs().max() / wanted.abs().max())


def main() -> None:
    import torch

    args = parse()
    torch.set_num_threads(1)
    rows = []
    for number, (name, (space, side)) in enumerate(spaces().items()):
        if args.quick and number:
            break
        torch.manual_seed(number)
        network, images = randomised(space), torch.randn(4, 3, side, side)
        errors = [error(space, network, images, seed) for seed in range(1 if args.quick else args.plans)]
        rows.append({"network": name, "errors": errors})
    shown = [{"network": r["network"], "median": f"{statistics.median(r['errors']):.1e}"} for r in rows]
    print_rows("|sliced - masked| over the largest output", shown)
    if not args.quick:
        save_results("masked_sliced", rows)


if __name__ == "__main__":
    main()
