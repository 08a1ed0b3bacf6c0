"""A genotype is retrained by the command, its network evaluated and loaded, and pruned without its name given again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from run_tool import run_tool
from tool_runs import ROOT, TINY

import compress
from compress.engine.data import load_data
from compress.export import onnx_session
from compress.pipeline.recipe import load_recipe
from compress.plan import Genotype
from compress.pruning import Budget, select
from compress.spaces import Card, make_space, save_model, sizes
from compress.topology.published import DARTS_V2, NATS_LARGEST, PCDARTS
from compress.topology.space import DartsCellsSpace

SEARCH = ROOT / "recipes/topology/darts_digits_rarts.py"
RECIPE = ROOT / "recipes/topology/darts_digits_retrain.py"
SMALL = {key: value for key, value in TINY.items() if key not in ("space.depth", "data.input_size", "data.resize")} | {
    "space.channels": 4,
    "space.layers": 3,
    "train.epochs": 2,
    "search.epochs": 1,
    "finetune.epochs": 1,
    "export.tolerance": 0.05,
}
SPARSE = Genotype.parse("|nor_conv_1x1~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|skip_connect~2|")
OPTIONS = ["--cfg-options", *(f"{key}={value}" for key, value in SMALL.items())]


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    """What of a topology search's run folder matters here."""
    folder = tmp_path_factory.mktemp("searched")
    PCDARTS.save(folder / "genotype.json")
    return folder


@pytest.fixture(scope="module")
def retrained(searched: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("retrained") / "run"
    assert run_tool("retrain", RECIPE, "--genotype", searched, "--work-dir", folder, *OPTIONS) == 0
    return folder


def test_the_run_records_its_genotype_and_saves_no_auxiliary_head(retrained: Path) -> None:
    recipe = json.loads((retrained / "recipe.json").read_text())["train"]
    assert Genotype.parse(recipe["space"]["genotype"]) == PCDARTS
    rows = [json.loads(line) for line in (retrained / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(row["loss_auxiliary"] > 0 for row in rows)
    network = compress.load(retrained)
    assert {*network.state_dict()} == {*DartsCellsSpace(10, PCDARTS.text, channels=4, layers=3).build().state_dict()}
    assert network.card.arch["genotype"] == PCDARTS.text
    assert network(torch.randn(2, *network.card.input_size)).shape == (2, 10)


def pruned(recipe: Path, checkpoint: Path, work: Path, *more: str) -> Genotype:
    """The genotype of a pruned network; the run is told of none: the checkpoint has it."""
    options = ("--checkpoint", checkpoint, "--macs-ratio", 0.75, "--work-dir", work, *more)
    assert run_tool("prune", recipe, *options) == 0
    summary = json.loads((work / "summary.json").read_text())
    assert 0.6 < summary["macs"]["after"] / summary["macs"]["before"] <= 0.75
    small = compress.load(work)
    assert sum(p.numel() for p in small.parameters()) == summary["params"]["after"]
    return Genotype.parse(small.card.arch["genotype"])


@pytest.mark.slow
def test_a_network_of_nats_bench_is_retrained_exported_and_pruned_by_width(tmp_path: Path) -> None:
    recipe, base, work = tmp_path / "nats.py", tmp_path / "base", tmp_path / "pruned"
    recipe.write_text(
        f"_base_ = [{str(RECIPE)!r}]\nspace = dict(_delete_=True, type='nats_cells', channels=4, layers=1)\n"
    )
    options = [option for option in OPTIONS if not option.startswith("space.")]
    assert run_tool("retrain", recipe, "--genotype", SPARSE.text, "--work-dir", base, *options) == 0
    assert pruned(recipe, base, work, *options) == SPARSE
    assert run_tool("evaluate", work / "model.onnx", "--recipe", recipe, *options) == 0


@pytest.mark.slow
def test_a_search_of_darts_cells_ends_in_a_small_network_and_its_files(tmp_path: Path) -> None:
    """As docs/topology.md has it: search, retrain, export, prune; the cells are those that the search found."""
    cells, net = tmp_path / "cells", tmp_path / "net"
    short = ("search.epochs=1", "search.batch_size=15", "data.limit=60")
    assert run_tool("search_topology", SEARCH, "--work-dir", cells, "--cfg-options", *short) == 0
    assert run_tool("retrain", RECIPE, "--genotype", cells, "--work-dir", net, *OPTIONS) == 0
    network = compress.load(net)
    images = torch.randn(4, *network.card.input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = network(images)
    for target, file, error in (("onnx", net / "model.onnx", 1e-4), ("ort-int8", net / "model.int8.onnx", 0.1)):
        assert run_tool("export", net, "--to", target, "-o", file) == 0
        (given,) = onnx_session(file).run(None, {"images": images.numpy()})
        assert (torch.from_numpy(given) - wanted).abs().max() < error * wanted.abs().max()
        assert run_tool("evaluate", file) == 0
    assert pruned(RECIPE, net, tmp_path / "pruned", *OPTIONS) == Genotype.load(cells / "genotype.json")


@pytest.mark.parametrize(("data", "multiple"), [("digits", 4), ("cifar10", 8), ("imagenet", 8)])
def test_the_recipes_prune_to_widths_that_run_fast(data: str, multiple: int) -> None:
    """A pruned network of odd widths takes longer in ONNX Runtime than the whole one."""
    recipe = load_recipe(f"topology/darts_{data}_retrain", ["space.layers=3"])
    kind, arch = recipe.space["type"], {key: value for key, value in recipe.space.items() if key != "type"}
    space = make_space(kind, {"num_classes": 10, **arch})
    scores = {name: torch.rand(size) for name, size in sizes(space.groups).items()}
    plan = select(scores, (), Budget("pruning_ratio", 0.3), recipe.select, space=space.name)
    full = sizes(space.groups)
    pruned = {name: width for name, width in plan.widths.items() if width < full[name]}
    assert pruned
    assert {width % multiple for width in pruned.values()} == {0}


def refusal(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: object, tool: str = "retrain") -> str:
    assert run_tool(tool, *arguments, "--work-dir", folder) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not folder.exists()
    return line


def test_what_is_no_genotype_of_the_recipe_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    wrong = tmp_path / "genotype.json"
    wrong.write_text('{"format": 1, "space": "darts", "cells": {}}')
    cases = [
        (
            (RECIPE, "--genotype", NATS_LARGEST.text),
            "space.genotype: must be one of darts, and is one of nats",
        ),
        ((RECIPE, "--genotype", wrong), f"--genotype: {wrong}: genotype: cells of darts must be normal, reduction"),
        ((RECIPE, "--genotype", tmp_path / "absent"), f"--genotype: {tmp_path / 'absent'}: no such file"),
        ((RECIPE, "--genotype", "|none~0|"), "--genotype: genotype: cell must have 3 nodes, not 1"),
        ((RECIPE,), "the following arguments are required: --genotype"),
        (
            (ROOT / "recipes/width/preresnet20_digits_rarts.py", "--genotype", DARTS_V2.text),
            "space.genotype: preresnet has no such setting",
        ),
    ]
    for arguments, message in cases:
        assert message in refusal(capsys, folder, *arguments)


def test_an_auxiliary_head_that_would_read_too_small_maps_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [*OPTIONS, "data.input_size=16", "data.resize=16"]
    message = "recipe: space.auxiliary = True: reads maps of at least 8 x 8 pixels, and these have 4 x 4; set it to"
    assert message in refusal(capsys, tmp_path / "run", RECIPE, "--genotype", PCDARTS.text, *small)
    # A network that was trained without one is fine-tuned with one.
    space = DartsCellsSpace(10, PCDARTS.text, channels=4, layers=3)
    data = load_recipe(RECIPE, small[1:]).data
    card = Card(space.name, space.arch, tuple("0123456789"), load_data(data, seed=0).preprocessing)
    save_model(tmp_path / "base" / "model", space.build(), card)
    base = tmp_path / "base/model.safetensors"
    for tool, own in (("prune", ("--macs-ratio", 0.75)), ("finetune", ("--teacher", base))):
        assert message in refusal(capsys, tmp_path / "run", RECIPE, "--checkpoint", base, *own, *small, tool=tool)


def test_another_genotype_is_not_gone_on_with(retrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--genotype", DARTS_V2.text, "--work-dir", retrained, "--resume", *OPTIONS)
    assert run_tool("retrain", RECIPE, *options) == 2
    assert "that run has other settings (train.space.genotype" in capsys.readouterr().err
