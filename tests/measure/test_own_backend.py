"""A backend that an installed package brings: timed, in a table, in reports and in the tools. Some seconds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_spaces import made
from installed import installed
from run_tool import run_tool
from test_profiling import quick  # noqa: F401

from compress.measure import MeasureConfig, PlanTimer, TableConfig, measure_latency, networks, table_key
from compress.measure import table as table_module
from compress.measure.kit.ondevice import turns
from compress.measure.models import open_model
from compress.plan import UserError
from compress.plan.backends import BACKENDS
from compress.report import wording
from compress.spaces import sizes

OWN = Path(__file__).resolve().parents[1] / "own" / "own_backend.py"


@pytest.fixture
def own(tmp_path):
    """The package is there."""
    folder = tmp_path / "packages"
    folder.mkdir()
    with installed(folder, OWN, BACKENDS, "reference"):
        yield


@pytest.fixture
def files(tmp_path):
    """(ONNX file, narrow one) of one space, and the size of their images."""
    space, size, _, graphs = made("preresnet")
    for name, widths in (("whole", {}), ("narrow", dict.fromkeys(sizes(space.groups), 4))):
        (tmp_path / f"{name}.onnx").write_bytes(graphs.at(widths))
    return tmp_path / "whole.onnx", tmp_path / "narrow.onnx", size


def test_it_is_timed_as_our_own_are(own, files, tmp_path, monkeypatch):
    whole, narrow, size = files
    config = MeasureConfig(("onnxruntime", "reference"), batch=2, repeats=2, warmup_seconds=0.0)
    network = torch.nn.Identity()  # neither of the two takes modules
    found = measure_latency(network, network, whole, narrow, input_size=size, config=config)
    assert list(found["backends"]) == ["onnxruntime", "reference"]
    assert found["backends"]["reference"]["before"]["median"] > 0
    assert wording.backend("reference") == "ONNX's reference evaluator"
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    answers = [open_model(narrow, backend=name)(images).numpy() for name in ("reference", "onnxruntime")]
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-5)


def test_the_tools_take_it(own, files, tmp_path, capsys):
    target = tmp_path / "times.json"
    options = ("--backend", "reference", "--repeats", 2, "--json", target)
    assert run_tool("benchmark", *files[:2], *options) == 0
    result = json.loads(target.read_text())
    assert [row["backend"] for row in result["rows"]] == ["reference"] * 2
    assert "onnx" in result["versions"]
    capsys.readouterr()
    assert run_tool("profile_latency", "absent.py", "-o", tmp_path / "t.json", "--backend", "reference") == 2
    assert "--backend" not in capsys.readouterr().err, "what is wrong is the recipe"
    assert run_tool("profile_latency", "absent.py", "-o", tmp_path / "t.json", "--backend", "other") == 2
    assert "--backend: invalid choice: 'other' (choose from" in capsys.readouterr().err


def test_tables_and_plans_are_timed_with_it(own, quick, monkeypatch):  # noqa: F811
    space, size, _, graphs = made("preresnet")
    narrow = dict.fromkeys(sizes(space.groups), 4)
    monkeypatch.setattr(networks, "WidthGraphs", lambda *args, **options: graphs)  # saves an export
    monkeypatch.setattr(turns, "warm_up", lambda call, seconds: 10.0)
    config = TableConfig("reference", rounds=4)
    assert table_key(space, size, config)["versions"].keys() == {"onnx"}
    with table_module._profiler(space, size, config) as profiler:
        profile = profiler.profile(narrow)
    operators = {op.name for op in space.operators(size) if op.macs}
    assert operators <= profile.operators.keys() == profile.nodes.keys()
    assert sum(profile.unpruned.values()) == pytest.approx(1)
    with PlanTimer.open(space, size, backend="reference") as timer:
        assert timer.ratio(narrow, repeats=3) > 0


def test_without_the_package_it_is_unknown():
    with pytest.raises(UserError, match="backends = 'reference': is unknown; choose from pytorch, onnxruntime"):
        MeasureConfig(("reference",))
    with pytest.raises(UserError, match="backend = 'reference': is unknown; choose from pytorch, onnxruntime"):
        TableConfig("reference")
    assert wording.backend("reference") == "reference", "a report of long ago"
