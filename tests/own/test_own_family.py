"""A family of networks that an installed package brings: a whole run of the tools, and its network loaded again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from installed import installed
from run_tool import run_tool
from tool_runs import RECIPE, TINY

import compress
from compress.plan import UserError, WidthPlan
from compress.spaces import SPACES, make_space

HERE = Path(__file__).resolve().parent


@pytest.fixture
def own(tmp_path):
    """The package is there."""
    folder = tmp_path / "packages"
    folder.mkdir()
    with installed(folder, HERE / "own_family.py", SPACES, "chain"):
        yield


def test_a_run_prunes_it_and_what_is_left_loads_by_its_name(own, tmp_path, capsys):
    recipe, base, work = tmp_path / "own.py", tmp_path / "base", tmp_path / "run"
    recipe.write_text(f"_base_ = [{str(RECIPE)!r}]\nspace = dict(_delete_=True, type='chain', depth=3)\n")
    small = ["--cfg-options", *(f"{key}={value}" for key, value in TINY.items() if key != "space.depth")]
    assert run_tool("train", recipe, "--work-dir", base, *small) == 0, capsys.readouterr().err
    options = ("--checkpoint", base, "--macs-ratio", 0.5, "--work-dir", work, *small)
    assert run_tool("prune", recipe, *options) == 0, capsys.readouterr().err
    summary = json.loads((work / "summary.json").read_text())
    assert 0.4 < summary["macs"]["after"] / summary["macs"]["before"] <= 0.5
    network = compress.load(work)
    kept = WidthPlan.load(work / "plan.json").kept
    assert {name: network.get_submodule(name).out_channels for name in kept} == {n: len(c) for n, c in kept.items()}
    assert network(torch.randn(2, *network.card.input_size)).shape == (2, 10)


def test_masked_and_sliced_networks_compute_the_same(own):
    from compress.pruning import slice_model

    torch.manual_seed(0)
    space = make_space("chain", {"num_classes": 5, "depth": 4})
    network = space.build().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.bias, 0.1, 1)
    kept = {group.name: tuple(range(0, group.size, 2 + i)) for i, group in enumerate(space.groups)}
    sizes = {group.name: group.size for group in space.groups}
    small, small_space = slice_model(network, space, WidthPlan("chain", sizes=sizes, kept=kept))
    for name, channels in kept.items():
        gone = [i for i in range(sizes[name]) if i not in channels]
        norm = network.get_submodule(f"{name}_norm")
        with torch.no_grad():
            norm.weight[gone] = 0
            norm.bias[gone] = 0
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(small(x), network(x), rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in small_space.build().parameters())


def test_without_it_there_is_no_such_space():
    with pytest.raises(UserError, match=r"space\.type = 'chain': unknown space; choose one of"):
        make_space("chain", {"num_classes": 5})
