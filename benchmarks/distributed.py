"""Searches on several processes (Gloo, no GPU): equal scores, bytes sent beside DDP's, and the time of a step.

`equal`: a RARTS search of a network trained on digits with `sync_bn`, of one global batch, on 1, 2 and 4 processes: how
far scores are from those of one process, beside how far they have moved, and how much of the plan is another. In
float64, and in float32, where two more runs of one process show what rounding does: PyTorch's own BatchNorm (no
launcher), and a start that is off by a millionth. `steps`: what one process hands to all-reduce in a step, beside DDP
that trains one weight set and the scores, and the time of a step on two processes over that of one process with its
share of the batch, all in turns; with more processes than idle cores this measures the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _harness import ROOT, Silent, print_rows, results_file, save_results

GLOBAL_BATCH = 16
METHODS: dict[str, dict[str, Any]] = {
    "joint": {"type": "joint"},
    "rarts fused": {"type": "rarts", "order": "fused"},
    "rarts gauss-seidel": {"type": "rarts", "order": "gauss-seidel"},
    "darts2": {"type": "darts2"},
}
SIZE, BATCH = 16, 8
NAMES = {"alone": "PyTorch's BatchNorm", "nudged": "weights times 1 + 1e-6"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two processes and one method, results not written")
    parser.add_argument("--only", choices=("equal", "steps"), help="of the other part the results stay")
    parser.add_argument("--repeats", type=int, default=7, help="steps that are timed")
    parser.add_argument(
        "--one-of", nargs=5, metavar=("WHAT", "RANK", "WORLD", "FOLDER", "MORE"), help=argparse.SUPPRESS
    )
    return parser.parse_args()


def on_processes(what: str, world: int, more: object = "") -> list[Any]:
    """What each of `world` processes found: `what` is `equal` or `steps`, with `more` for it."""
    with tempfile.TemporaryDirectory() as folder:
        start = [sys.executable, __file__, "--one-of", what]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        processes = [
            subprocess.Popen([*start, str(rank), str(world), folder, str(more)], cwd=ROOT, env=environment)
            for rank in range(world)
        ]
        if max(process.wait() for process in processes) != 0:
            raise SystemExit(f"{what} on {world} processes failed")
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(world)]


def one_of(what: str, rank: int, world: int, folder: Path, more: str) -> None:
    """One of the processes."""
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    launched = not (world == 1 and (what == "steps" or more.startswith("alone ")))
    if launched:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    found = searched(world, folder, more, launched) if what == "equal" else steps(more, world)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    if launched:
        distributed.destroy_process_group()


def trained(file: Path) -> None:
    """Keep a network that ten epochs of the digits have trained."""
    import torch

    from compress.engine.settings import TrainConfig
    from compress.engine.training import Job, train

    data, _, network = digits()
    sgd = {"type": "SGD", "lr": 0.05, "momentum": 0.9}
    job = Job(file.with_suffix(""), file.with_suffix(".jsonl"), "train", 0, Silent())
    train(network, data.train, TrainConfig(epochs=10, batch_size=32, optimizer=sgd), job, evaluate=lambda _: {})
    torch.save(network.state_dict(), file)


def digits() -> tuple[Any, Any, Any]:
    """Images, space and a network of seeded random weights."""
    import torch

    from compress.engine.data import DataConfig, load_data
    from compress.spaces import PreResNetSpace

    space = PreResNetSpace(11, 10)
    torch.manual_seed(0)
    return load_data(DataConfig(limit=240), seed=0), space, space.build()


def searched(world: int, folder: Path, more: str, launched: bool) -> dict[str, Any]:
    """Scores and plan of two epochs on the digits, of the network whose weights are in a file."""
    import torch

    from compress.engine.searching import search
    from compress.engine.settings import SearchConfig
    from compress.engine.tasks import Classification
    from compress.engine.training import Job
    from compress.pruning import Budget, SelectConfig, plan_for

    data, space, network = digits()
    kind, _, file = more.partition(" ")
    network.load_state_dict(torch.load(file, weights_only=True))
    if kind == "nudged":
        network.load_state_dict({name: value * (1 + 1e-6) for name, value in network.state_dict().items()})
    if kind == "float64":
        torch.set_default_dtype(torch.float64)
        network.double()
        torch.nn.modules.module.register_module_forward_pre_hook(lambda _, images: (images[0].double(),))
    sgd = {"type": "SGD", "lr": 0.02, "momentum": 0.9}
    config = SearchConfig(
        epochs=2,
        batch_size=GLOBAL_BATCH // world,
        sync_bn=True,
        method=METHODS["rarts fused"],
        optimizer=sgd,
        alpha_optimizer={**sgd, "lr": 0.5},
        gamma=0.004,
    )
    launcher = "pytorch" if launched else "none"
    job = Job(folder / "search", folder / "metrics.jsonl", "search", 0, Silent(), launcher=launcher)
    scores = search(network, space, Classification(data), config, job, evaluate=lambda _: {}).scores
    select = SelectConfig(ranking="global", floor=1, round_to=1)
    plan = plan_for(space, scores, Budget("macs_ratio", 0.5), select, input_size=(3, 32, 32))
    return {
        "scores": {name: score.tolist() for name, score in scores.items()},
        "kept": {name: list(kept) for name, kept in plan.kept.items()},
    }


def steps(more: str, world: int) -> dict[str, Any]:
    """Bytes that a step sends, and seconds of every step, of each case and of DDP in turns."""
    asked = json.loads(more)
    cases = {name: step_of(name, world) for name in asked["cases"]}
    for step in cases.values():  # DDP and ours build their buckets by the first
        step()
        step()
    sent = {name: bytes_of(step) for name, step in cases.items()}
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(asked["repeats"]):
        for name, step in cases.items():
            begin = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begin)
    return {"sent": sent, "seconds": seconds}


def step_of(name: str, world: int) -> Callable[[], None]:
    """A step of "METHOD" or "DDP", with " bf16" behind it where gradients travel so."""
    method, bf16 = name.removesuffix(" bf16"), name.endswith(" bf16")
    return ddp_step(world, bf16) if method == "DDP" else search_step(method, world, bf16)


def model_of(method: str) -> Any:
    import torch

    from compress.engine.searchers import SearchModel
    from compress.engine.settings import SearchConfig
    from compress.spaces import PreResNetSpace

    torch.manual_seed(0)
    space = PreResNetSpace(20, 10)
    return SearchModel(
        space.build(), space, SearchConfig(epochs=1, method=METHODS[method]), input_size=(3, SIZE, SIZE)
    ).train()


def batch_of() -> tuple[Any, Any]:
    import torch

    return torch.randn(BATCH, 3, SIZE, SIZE), torch.arange(BATCH) % 10


def search_step(method: str, world: int, bf16: bool) -> Callable[[], None]:
    """A step of the search."""
    from compress.engine.parallel import AveragedSearch

    model = model_of(method)
    step = AveragedSearch(model, bf16=bf16).train_step if world > 1 else model.train_step
    optimizers, batch = model.optimizers(), batch_of()
    data = {"p": batch, "a": batch} if model.method.halves else batch
    return lambda: step(data, optimizers) and None


def ddp_step(world: int, bf16: bool) -> Callable[[], None]:
    """A step of plain training with DDP, of the search's weights and scores."""
    import torch
    from torch.nn import functional as F
    from torch.nn.parallel import DistributedDataParallel

    network = with_scores(model_of("joint"))
    if world > 1:
        network = DistributedDataParallel(network)
        network.register_comm_hook(None, counted_hook(bf16))
        network.broadcast_buffers = False
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images, labels = batch_of()

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images.contiguous(memory_format=torch.channels_last)), labels).backward()
        optimizer.step()

    return step


def with_scores(model: Any) -> Any:
    """One weight set with the scores, as one module."""
    import torch

    network = model.weights("w")
    network.scores_of_the_search = torch.nn.ParameterList(model.source.alpha())
    return network


DDP_BYTES = [0]
"""What DDP's hook has sent."""


def counted_hook(bf16: bool) -> Callable[[Any, Any], Any]:
    """DDP's own hook, which counts."""
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

    inner = default_hooks.bf16_compress_hook if bf16 else default_hooks.allreduce_hook

    def hook(state, bucket):  # DDP reads annotations
        DDP_BYTES[0] += bucket.buffer().numel() * (2 if bf16 else bucket.buffer().element_size())
        return inner(state, bucket)

    return hook


def bytes_of(step: Callable[[], None]) -> int:
    """What one step hands to all-reduce."""
    from torch import distributed

    whole, counted = distributed.all_reduce, [0]

    def all_reduce(tensor: Any, *arguments: Any, **options: Any) -> Any:
        counted[0] += tensor.numel() * tensor.element_size()
        return whole(tensor, *arguments, **options)

    DDP_BYTES[0], distributed.all_reduce = 0, all_reduce
    try:
        step()
    finally:
        distributed.all_reduce = whole
    return DDP_BYTES[0] or counted[0]


def equal_rows(worlds: tuple[int, ...]) -> list[dict[str, Any]]:
    """How far the scores of several processes are from those of one."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trained.pth"
        trained(file)
        return [
            row
            for kind, more in (("float64", []), ("float32", ["alone", "nudged"]))
            for row in compared(kind, file, worlds, more)
        ]


def compared(kind: str, file: Path, worlds: tuple[int, ...], more: list[str]) -> list[dict[str, Any]]:
    """Runs in one type of numbers beside that of one process: on `worlds`, and on one process in `more` ways."""
    reference, rows = on_processes("equal", 1, f"{kind} {file}")[0], []
    flat = [value for score in reference["scores"].values() for value in score]
    runs = [(way, 1) for way in more] + [(kind, world) for world in worlds]
    for way, world in runs:
        found = on_processes("equal", world, f"{way} {file}")
        own = [value for score in found[0]["scores"].values() for value in score]
        rows.append(
            {
                "numbers": kind,
                "processes": world,
                "otherwise": NAMES.get(way, ""),
                "images of each": GLOBAL_BATCH // world,
                "largest difference": float(f"{max(abs(a - b) for a, b in zip(own, flat, strict=True)):.2g}"),
                "largest move of a score": round(max(abs(value - 1) for value in flat), 4),
                "equal on all": all(one["scores"] == found[0]["scores"] for one in found),
                "channels kept that one process does not keep": others(found[0]["kept"], reference["kept"]),
                "of": sum(len(kept) for kept in reference["kept"].values()),
            }
        )
    return rows


def others(kept: dict[str, list[int]], reference: dict[str, list[int]]) -> int:
    """How many kept channels the `reference` does not keep."""
    return sum(len(set(kept[name]) - set(reference[name])) for name in reference)


def step_rows(cases: list[str], repeats: int) -> list[dict[str, Any]]:
    """Bytes and seconds of a step."""
    asked = json.dumps({"cases": cases, "repeats": repeats})
    alone, two = on_processes("steps", 1, asked)[0], on_processes("steps", 2, asked)[0]
    median = {
        (world, name): statistics.median(seconds)
        for world, found in ((1, alone), (2, two))
        for name, seconds in found["seconds"].items()
    }
    return [
        {
            "step": name,
            "bytes sent": two["sent"][name],
            "over DDP's": round(two["sent"][name] / two["sent"]["DDP"], 3),
            "ms, one process": round(1000 * median[1, name], 1),
            "ms, two": round(1000 * median[2, name], 1),
            "two over one": round(median[2, name] / median[1, name], 2),
            "n": repeats,
        }
        for name in cases
    ]


def main(args: argparse.Namespace) -> None:
    if args.one_of:
        what, rank, world, folder, more = args.one_of
        return one_of(what, int(rank), int(world), Path(folder), more)
    kept = json.loads(results_file("distributed").read_text()) if results_file("distributed").exists() else {}
    equal, sent = kept.get("rows", []), kept.get("steps", [])
    if args.only != "steps":
        equal = equal_rows((2,) if args.quick else (2, 4))
        print_rows("Scores of one global batch", equal)
    if args.only != "equal":
        cases = ["DDP", "joint", "DDP bf16", "joint bf16", *([] if args.quick else list(METHODS)[1:])]
        sent = step_rows(cases, 2 if args.quick else args.repeats)
        print_rows("A step on two processes", sent)
    if not args.quick:
        print(save_results("distributed", equal, steps=sent))


if __name__ == "__main__":
    main(parse())
