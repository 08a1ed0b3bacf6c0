"""Memory as `nncompress estimate` tells it beside what real steps take, on the processor.

Each cell is a fresh process that trains two steps, or searches for two iterations, of one network. Its peak is that of
PyTorch's allocator on the processor, which torch.profiler logs byte by byte (`profile_memory`): the counterpart of
torch.cuda.max_memory_allocated. What a process takes beyond it (libraries, oneDNN's own workspaces) is not compared. A
stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from _harness import ROOT, alone, print_rows, save_results

MIB = 2**20
NETWORKS: dict[str, tuple[str, list[str], int, int]] = {
    "PreResNet-164": ("width/preresnet164_cifar10_rarts", [], 32, 16),
    "MobileNetV2": ("width/mobilenetv2_imagenet20_rarts", ["data.input_size=64", "data.resize=64"], 64, 32),
    "Swin-T": (
        "sidt/swin_t_imagenet20",
        ["data.input_size=64", "data.resize=64", "space.input_size=[64,64]"],
        64,
        16,
    ),
}
"""Network -> recipe, overrides, side in pixels, batch."""
QUICK = ("width/preresnet20_digits_rarts", [], 32, 8)
KINDS = ("train", "search")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--quick", action="store_true", help="a small network alone, results not written")
    parser.add_argument("--measure", nargs=2, metavar=("NETWORK", "KIND"), help=argparse.SUPPRESS)
    return parser.parse_args()


def parts(network: str) -> tuple[Any, Any, tuple[int, int, int]]:
    """The recipe with the batch of the comparison, its space, and the size of an image."""
    from compress.pipeline.recipe import load_recipe
    from compress.spaces import make_space

    name, options, side, batch = NETWORKS.get(network, QUICK)
    recipe = load_recipe(name, options)
    recipe = replace(
        recipe,
        train=replace(recipe.train, batch_size=batch),
        search=replace(recipe.search, batch_size=batch),
    )
    arch = {key: value for key, value in recipe.space.items() if key != "type"}
    return recipe, make_space(recipe.space["type"], {"num_classes": 20, **arch}), (3, side, side)


def estimated(network: str, kind: str) -> Any:
    from compress.measure.footprint import search_footprint, training_footprint

    recipe, space, size = parts(network)
    if kind == "train":
        return training_footprint(space, recipe.train, input_size=size)
    return search_footprint(space, recipe.search, input_size=size)


def real_step(network: str, kind: str) -> Callable[[], Any]:
    """One step on random images, as the engine takes it."""
    import torch

    from compress.engine.optimisers import make_optimizer
    from compress.engine.searchers import SearchModel
    from compress.engine.training import Classifier, optim_wrapper

    recipe, space, size = parts(network)
    config = getattr(recipe, kind)

    def batch() -> tuple[Any, Any]:
        return torch.randn(config.batch_size, *size), torch.arange(config.batch_size) % 20

    if kind == "train":
        model = Classifier(space.build(), label_smoothing=config.label_smoothing).train()
        wrapper = optim_wrapper(make_optimizer(config.optimizer, model.parameters(), name="train"), config)
        images, labels = batch()
        return lambda: model.train_step({"inputs": images, "labels": labels}, wrapper)
    search = SearchModel(space.build(), space, config, input_size=size).train()
    optimizers = search.optimizers()
    data = {"p": batch(), "a": batch()} if search.method.halves else batch()
    return lambda: search.train_step(data, optimizers)


def measure(network: str, kind: str) -> dict[str, Any]:
    """The peak in MiB, in this process."""
    import torch

    torch.set_num_threads(1)
    return {"allocated": allocated_peak(lambda: real_step(network, kind)) / MIB}


def allocated_peak(make: Callable[[], Callable[[], Any]]) -> int:
    """Most bytes that PyTorch's allocator had given out at once while `make` made a step, and it was taken twice."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as log:
        step = make()
        for _ in range(2):
            step()
    assert log.profiler is not None
    events = [event for event in log.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def kept(file: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `file` holds, computed unless it is there."""
    from compress.plan import read_json, write_json

    with alone(file) as missing:
        if missing:
            write_json(file, compute())
    return dict(read_json(file))


def fresh(network: str, kind: str) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", network, kind]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def row(network: str, kind: str, folder: Path) -> dict[str, Any]:
    """One cell: estimated and measured."""
    allocated = kept(folder / f"{network} {kind}.json", lambda: fresh(network, kind))["allocated"]
    told = kept(folder / f"{network} {kind} estimated.json", lambda: asdict(estimated(network, kind)))
    mib = {name: round(told[name] / MIB, 1) for name in ("weights", "gradients", "states", "activations")}
    *_, side, batch = NETWORKS.get(network, QUICK)
    return {
        "network": network,
        "step": kind,
        "images": f"{batch} of {side} x {side}",
        **{f"{name}_mib": value for name, value in mib.items()},
        "estimated_peak_mib": round(told["peak"] / MIB, 1),
        "allocated_peak_mib": round(allocated, 1),
        "estimated_over_allocated": round(told["peak"] / MIB / allocated, 3),
    }


def main(args: argparse.Namespace) -> None:
    if args.measure:
        print(json.dumps(measure(*args.measure)))
        return
    networks = ["PreResNet-20"] if args.quick else args.networks
    folder = ROOT / "runs" / "estimate"
    rows = [row(network, kind, folder) for network in networks for kind in KINDS]
    print_rows("Peak memory of a step, MiB", rows)
    if not args.quick and args.networks == list(NETWORKS):
        print(save_results("estimate", rows))


if __name__ == "__main__":
    main(parse())
