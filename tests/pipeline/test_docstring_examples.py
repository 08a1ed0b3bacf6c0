"""Every example in a docstring runs as it stands; those of detection, topology and api run with their tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from docstring_examples import Example, examples, run_example
from example_world import SIZE, SPACE, made_for, make_names, write_files
from export import fake_tensorrt
from measure import made_up_profiles
from tool_runs import RECIPE

import compress.pipeline.recipe
import compress.pipeline.run
from compress.export import EngineConfig, build_engine
from compress.measure import networks
from compress.measure.benchmark import benchmark_models
from compress.measure.graphs import WidthGraphs
from compress.measure.networks import timing_network
from compress.pipeline.recipe import Recipe, load_recipe
from compress.plan import write_json

ELSEWHERE = ("compress.detection", "compress.topology", "compress.api")
EXAMPLES = [example for example in examples() if not example.module.startswith(ELSEWHERE)]
WRITTEN = {
    "prune": ["runs/demo"],
    "train_baseline": ["runs/base"],
    "TerminalProgress": ["runs/base"],
    "find_front": ["runs/front"],
    "write_table_kit": ["kit"],
}
"""Folders that an example makes itself."""
SLOW = (
    "pipeline.run:prune",
    "pipeline.front:find_front",
    "measure.plan_timer:PlanTimer",
    "measure.graphs:WidthGraphs",
    "measure.layers:add_layers",
    "measure.profiling:Profiler",
)
"""Examples of ten seconds and more, for `make test-slow`: what they do, other tests do as well."""
FAKED = ("compress.export.tensorrt.runner",)
"""Modules whose examples need a GPU, for which recorded fakes stand."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, baseline: Path, finished: tuple[Path, Any]) -> Path:
    """The folder with the files that examples read."""
    folder = tmp_path_factory.mktemp("world")
    write_files(folder, baseline, finished[0])
    return folder


@pytest.fixture
def folder(world: Path, tmp_path: Path) -> Path:
    """A copy for one example; unchanged files are shared."""
    return shutil.copytree(world, tmp_path / "here", copy_function=os.link)


@pytest.fixture
def recipe(tiny: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Recipe]:
    """The demo's recipe at the size of tests, as every example that loads it gets it."""
    options = tiny()[1:]

    def load(path: str = "", overrides: Any = ()) -> Recipe:
        return load_recipe(RECIPE, [*options, *overrides])

    monkeypatch.setattr(compress.pipeline.recipe, "load_recipe", load)
    return load


class Cifar:
    """torchvision's CIFAR10 without a download."""

    filename, tgz_md5, url = "cifar.tar.gz", "0", "nowhere"
    classes = tuple("abcdefghij")

    def __init__(self, root: str, train: bool, download: bool = False) -> None:
        self.data, self.targets = np.zeros((20, 32, 32, 3), np.uint8), [*range(10)] * 2


@lru_cache
def exported_once(arch: str) -> WidthGraphs:
    """Of the space that examples use, whose network is always the same."""
    assert arch == repr(SPACE.arch)
    return WidthGraphs(timing_network(SPACE, SIZE), SPACE, input_size=SIZE)


@pytest.mark.parametrize(
    "example",
    [pytest.param(each, marks=pytest.mark.slow) if str(each) in SLOW else each for each in EXAMPLES],
    ids=str,
)
def test_example(example: Example, folder: Path, recipe: Callable[[], Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    names = make_names(folder, recipe)
    names |= {"load_recipe": lambda: recipe} | made_for(str(example), folder)
    for name in WRITTEN.get(example.name, ()):
        shutil.rmtree(folder / name)
    monkeypatch.setattr("webbrowser.open", lambda address: None)
    monkeypatch.setattr(networks, "WidthGraphs", lambda model, space, **size: exported_once(repr(space.arch)))
    monkeypatch.setattr("torchvision.datasets.CIFAR10", Cifar)
    if example.name in ("build_table", "merge_tables"):
        made_up_profiles.use(monkeypatch, made_up_profiles.Formula(space=SPACE, size=SIZE))
    if example.name == "print_benchmark":
        write_json(folder / "benchmark.json", benchmark_models([folder / "model.onnx"] * 2, repeats=2))
    if example.module in FAKED:
        fake_tensorrt.install(monkeypatch)
        event = SimpleNamespace(record=lambda: None, elapsed_time=lambda end: 1.0)
        monkeypatch.setattr(torch.cuda, "Event", lambda **_: event)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
        build_engine(folder / "model.onnx", folder / "model.engine", config=EngineConfig(batch=(1, 2, 4)))
        names["images"] = lambda: torch.zeros(2, 3, 2, 2)
    if example.module == "compress.plan.settings":
        names["self"] = lambda: None
    run_example(example, names, folder)
