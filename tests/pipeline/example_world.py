"""What the examples of docstrings call so: names, and files in the folder where they run; small, on the digits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from engine.quiet import Quiet
from example_devices import REGIONS, engine, write_engine_files, write_kit
from made_up_front import made_up
from measure import made_up_profiles
from PIL import Image
from torch.nn import functional as F

import compress
from compress.costs import LatencyTable
from compress.engine.data import DataConfig, ImageData, load_data
from compress.engine.encoded import FileSource
from compress.engine.loaders import eval_loader
from compress.engine.settings import SearchConfig
from compress.engine.tars import write_shards
from compress.engine.training import Job
from compress.export import export_half, export_onnx, onnx_session
from compress.measure.designs import allowed_widths, sample_designs
from compress.measure.fitting import group_errors
from compress.measure.graphs import WidthGraphs
from compress.measure.models import open_model
from compress.measure.networks import WidthNetworks
from compress.measure.table import TableConfig, build_table
from compress.pipeline.recipe import Recipe
from compress.plan import Genotype, Registry, read_json, write_json
from compress.plan.backends import BACKENDS
from compress.pruning import Budget, SelectConfig, plan_for, select, slice_model
from compress.pruning.knapsack import Limit
from compress.search import TwoSets
from compress.spaces import Alphas, PreResNetSpace, SwinSpace, sizes

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
SIZE = (3, 32, 32)
SWIN = "swin_tiny_patch4_window7_224"
SPACE = PreResNetSpace(11, 10)


def network(seed: int = 0) -> Any:
    """PreResNet-11 with seeded weights."""
    torch.manual_seed(seed)
    return SPACE.build().eval()


def smallest() -> torch.nn.Module:
    """What takes the least time to export."""
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def scores() -> dict[str, torch.Tensor]:
    """Scores by which the first channels are the best."""
    return {name: torch.linspace(1, 0.1, n) for name, n in sizes(SPACE.groups).items()}


def plan() -> Any:
    """Half of the MACs, in widths of the tables."""
    config = SelectConfig(round_to=8)
    return select(scores(), SPACE.operators(SIZE), Budget("macs_ratio", 0.5), config, space=SPACE.name)


def images(n: int = 4, size: tuple[int, int, int] = SIZE) -> torch.Tensor:
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(0))


@lru_cache
def data() -> ImageData:
    return load_data(DataConfig(limit=300), seed=0)


def profiles() -> list[Any]:
    """Of the made-up profiler, at ten designs."""
    profiler = made_up_profiles.Formula(space=SPACE, size=SIZE)
    return [profiler.profile(design) for design in sample_designs(allowed_widths(SPACE.groups, 8), 10, seed=0)]


def two_sets() -> TwoSets:
    """RARTS's two copies of one weight and a score."""
    u, w, alpha = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    losses = [lambda probe=False, x=x: ((x * alpha - 1) ** 2).sum() for x in (u, w)]
    return TwoSets(*losses, [u], [w], [alpha], *(torch.optim.SGD([x], lr=0.1) for x in (u, w, alpha)))


def settings() -> SearchConfig:
    sgd = {"type": "SGD", "lr": 0.02}
    return SearchConfig(epochs=1, batch_size=32, optimizer=sgd, alpha_optimizer=sgd)


def sources(folder: Path) -> FileSource:
    return FileSource(sorted((folder / "imagenet-20").rglob("*.png")), np.zeros(8, dtype=np.int64), folder=folder)


def make_names(folder: Path, recipe: Callable[[], Recipe]) -> dict[str, Callable[[], Any]]:
    """Name -> what makes what the examples call so; `folder` is where they run."""
    macs = Limit("--macs-ratio 0.5", lambda op, n_in, n_out: op.macs * np.multiply.outer(n_in, n_out), 2e7)
    return {
        "Annotated": lambda: Annotated, "F": lambda: F, "compress": lambda: compress, "Stages": lambda: dict[str, Any],
        "alphas": lambda: Alphas(SPACE.groups), "space": lambda: SPACE, "size": lambda: SIZE,
        "model": network, "network": network, "big": network, "u": network, "w": lambda: network(1),
        "small": lambda: slice_model(network(), SPACE, plan())[0], "scores": scores, "plan": plan,
        "values": lambda: {name: score.tolist() for name, score in scores().items()},
        "macs_limit": lambda: macs, "latency_limit": lambda: replace(macs, name="--latency-ratio 0.7", most=2.5e7),
        "soft_widths": lambda: {n: torch.tensor(float(k), requires_grad=True) for n, k in sizes(SPACE.groups).items()},
        "operators": lambda: SPACE.operators(SIZE), "images": images, "graph": lambda: b"nodes",
        "table": lambda: LatencyTable.load(folder / "table.json"), "profiles": profiles,
        "allowed": lambda: allowed_widths(SPACE.groups, 8),
        "grids": lambda: allowed_widths(SPACE.groups, 8), "data": data, "split": lambda: data().train,
        "loader": lambda: eval_loader(data().test, batch_size=32), "source": lambda: sources(folder),
        "graphs": lambda: WidthGraphs(network(), SPACE, input_size=SIZE), "epoch": lambda: 3,
        "indices": lambda: np.arange(4), "gamma": lambda: 0.1, "preprocessing": lambda: data().preprocessing,
        "pixels": lambda: np.zeros((2, 32, 32, 3), np.uint8), "session": lambda: onnx_session(folder / "model.onnx"),
        "config": settings, "job": lambda: Job(folder / "search", folder / "search.jsonl", "search", 0, Quiet()),
        "evaluate": lambda: lambda network: {}, "sets": two_sets, "recipe": recipe,
        "path": lambda: str(RECIPE), "progress": Quiet,
        "run_before": lambda: lambda: sum(range(1000)), "run_after": lambda: lambda: sum(range(500)),
        "group_errors": lambda: group_errors,
        "genotype": lambda: Genotype.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"),
    }  # fmt: skip


def write_tables(folder: Path) -> None:
    """Three tables of a made-up profiler, of different networks each, as of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        made_up_profiles.use(patch, made_up_profiles.Formula(space=SPACE, size=SIZE))
        for seed, name in enumerate(("monday", "tuesday", "table")):
            build_table(SPACE, folder / f"{name}.json", input_size=SIZE, config=TableConfig(seed=seed))


def made_for(example: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Names that mean something else in `example` ("costs.counting:count_module_macs") than in most."""
    swin = SwinSpace(100, SWIN, options={"embed_dim": 24, "depths": (1, 1), "num_heads": (1, 2)})
    batch = (images(4), torch.arange(4))
    networks = {
        "backend": lambda: BACKENDS.find("onnxruntime"),
        "folder": lambda: folder,
        "path": lambda: folder / "model.onnx",
    }
    arrays = {"images": lambda: images().numpy()}
    thing = SimpleNamespace(name="mine")
    cells = {
        "search_cell": lambda: lambda c, figures: figures.update(info={"type": "cells"}),
        "tell": lambda: lambda c, figures: None,
    }
    return {
        "costs.counting:count_module_macs": {"network": swin.build},
        "engine.searchers:SearchModel": {"batch": lambda: batch, "another": lambda: batch},
        "export.divergence:first_divergence": {"model": lambda: network(1)},
        "export.onnx_file:export_onnx": arrays | {"model": smallest},
        "export.onnx_file:onnx_graph": {"model": smallest},
        "export.quick_matching:quick_matching": {"model": smallest},
        "export.session:onnx_session": arrays,
        "export.session:run_session": arrays, "measure.networks:WidthNetworks": networks,
        "measure.ort_profiling:ProfiledSession": arrays | {"path": lambda: widths_of(folder).unpruned},
        "measure.kit.weights:SharedWeights": {"folder": lambda: folder / "networks"},
        "measure.openvino_profiling:CountedNetwork": networks | {"images": lambda: images(1).numpy(), "owners": dict},
        "measure.profiling:CallTimer": networks | {"networks": lambda: widths_of(folder)},
        "measure.layers:add_layers": {
            "latency": lambda: {"backends": {"onnxruntime": {}}},
            "small_space": lambda: SPACE.with_widths(plan().widths),
        },
        "measure.sliced:sliced_ratio": {
            "backend": lambda: BACKENDS.find("pytorch"), "small_space": lambda: SPACE.with_widths(plan().widths),
        },
        "measure.tensorrt_layers:EngineTimes": {"engine": engine, "regions": lambda: REGIONS},
        "measure.profiling:Profiler": networks | {"networks": lambda: widths_of(folder)},
        "penalties.l1:L1": {"alphas": lambda: [torch.ones(4)]},
        "penalties.named:PenaltyType": {"PENALTIES": lambda: Registry("compress.penalties")},
        "pipeline.context:RunContext": cells, "pipeline.stage:in_order": cells,
        "plan.registry:Registry": {"thing": lambda: thing},
        "report.figures:print_figures": {"model": lambda: open_model(folder / "model.onnx")},
        "spaces.transformer:TransformerSpace": {"plan": lambda: plan_of(SwinSpace(100, SWIN))},
    }.get(example, {})  # fmt: skip


def widths_of(folder: Path) -> WidthNetworks:
    """The networks of the space as ONNX Runtime takes them."""
    return WidthNetworks(SPACE, SIZE, folder, backend=BACKENDS.find("onnxruntime"), images=images())


def plan_of(space: Any) -> Any:
    """Most channels of a transformer."""
    scores = {name: torch.linspace(1, 0.1, n) for name, n in sizes(space.groups).items()}
    return plan_for(
        space, scores, Budget("pruning_ratio", 0.2), SelectConfig(ranking="layer"), input_size=(3, 224, 224)
    )


def write_files(folder: Path, base: Path, run: Path) -> None:
    """What the examples read, beside `base`, a trained network, and `run`, a finished run; only read these."""
    shutil.copytree(base, folder / "runs/base")
    write_kit(folder, SPACE, SIZE)
    write_engine_files(folder)
    (folder / "runs/front").mkdir()
    write_json(folder / "runs/front/front.json", made_up())
    for name in ("demo", "digits"):
        shutil.copytree(run, folder / "runs" / name)
    shutil.copy(run / "baseline.onnx", folder)
    export_onnx(network(), folder / "model.onnx", input_size=SIZE, metadata=metadata(run))
    export_half(folder / "model.onnx", folder / "model.fp16.onnx")
    write_tables(folder)
    for name in ("in1k.pth", "cifar10_resnet20.th"):
        torch.save(network().state_dict(), folder / name)
    pixels = np.stack([np.full((32, 32, 3), i, np.uint8) for i in range(16)])
    labels = np.arange(16) % 2
    arrays = {"train_images": pixels, "train_labels": labels, "test_images": pixels, "test_labels": labels}
    np.savez(folder / "cifar10.npz", **arrays, classes=np.array(["cat", "dog"]))
    for place in ("imagenet-20/train/cat", "imagenet-20/train/dog", "imagenet-20/val/cat", "imagenet-20/val/dog"):
        (folder / place).mkdir(parents=True)
        for i in (1, 2):
            Image.fromarray(pixels[i]).save(folder / place / f"{i}.png")
    for part in ("train", "val"):
        lines = [f"{part}/{name}/1.png,{name}\n" for name in ("cat", "dog")]
        (folder / f"imagenet-20/{part}.csv").write_text("".join(lines))
    for part in ("train", "val"):
        found = sorted((folder / "imagenet-20" / part).rglob("*.png"))
        write_shards(folder / "shards", part, ((path.read_bytes(), i % 2) for i, path in enumerate(found)))
    shutil.copytree(folder / "imagenet-20/val", folder / "val")


def metadata(run: Path) -> dict[str, str]:
    """Of the exported network, from the card of the run's."""
    card = read_json(run / "model.json")
    return {key: json.dumps(card[key]) for key in ("classes", "preprocessing")}
