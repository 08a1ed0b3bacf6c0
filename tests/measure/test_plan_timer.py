"""Timing plans end to end: which networks run, in which order, and what is made of their times. A few seconds."""

import numpy as np
import pytest
import torch
from exported_spaces import made

from compress.measure import PlanTimer, networks, timing
from compress.measure.graphs import WidthGraphs
from compress.spaces import PreResNetSpace, sizes

SPACE, SIZE = PreResNetSpace(11, 5), (3, 16, 16)
NARROW = dict.fromkeys(sizes(SPACE.groups), 4)


@pytest.fixture
def exported(monkeypatch):
    """The graphs of the network that is timed, exported once."""
    space, size, _, graphs = made("preresnet")
    assert (space, size) == (SPACE, SIZE)
    monkeypatch.setattr(networks, "WidthGraphs", lambda *args, **options: graphs)


@pytest.fixture
def timed(monkeypatch):
    """The calls that would be timed, in their order; the pruned network takes the next of `ratios` times as long."""
    seen, ratios = [], [0.5, 0.7, 0.6]

    def pretend(calls, *, repeats, **_):
        seen.append((list(calls), repeats, {name: np.asarray(call()) for name, call in calls.items()}))
        return {"unpruned": [2.0] * 3, "pruned": [2.0 * ratios[len(seen) - 1]] * 3}

    monkeypatch.setattr(timing, "interleaved", pretend)
    return seen


def test_the_plan_and_the_unpruned_network_are_timed_in_turn(timed, exported):
    with PlanTimer.open(SPACE, SIZE, batch=2) as timer:
        assert timer.ratio(NARROW, repeats=40) == 0.6, "the median of the sessions"
        with torch.inference_mode():
            whole = timer.networks.model(timer.networks.images).numpy()
        folder = timer.networks.folder
        assert {file.name for file in folder.iterdir()} == {"sliced.onnx", "unpruned.onnx"}
    assert not folder.exists()
    assert [(order, repeats) for order, repeats, _ in timed] == [
        (["pruned", "unpruned"], 14),
        (["unpruned", "pruned"], 14),
        (["pruned", "unpruned"], 14),
    ]
    for _, _, outputs in timed:
        assert outputs["unpruned"] == pytest.approx(whole, abs=1e-4)
        assert outputs["pruned"].shape == (2, 5)
        assert abs(outputs["pruned"] - whole).max() > 1e-2


def test_pytorch_runs_the_networks_that_slicing_makes(timed, monkeypatch):
    monkeypatch.delattr(networks, "WidthGraphs")  # nothing is exported
    with PlanTimer.open(SPACE, SIZE, batch=2, backend="pytorch") as timer:
        assert timer.ratio(NARROW) == 0.6
        sliced = timer.networks.at(NARROW)
        assert sliced.layer1[0].conv1.out_channels == 4
        pair = {"unpruned": timer.networks.model, "pruned": sliced}
        with torch.inference_mode():
            wanted = {name: network(timer.networks.images) for name, network in pair.items()}
    for order, _, outputs in timed:
        for name in order:
            assert np.array_equal(outputs[name], wanted[name].numpy())
    assert [order for order, _, _ in timed] == [
        ["pruned", "unpruned"], ["unpruned", "pruned"], ["pruned", "unpruned"]
    ]  # fmt: skip


def test_networks_that_compute_something_else_are_not_timed(timed, exported, monkeypatch):
    at = WidthGraphs.at
    monkeypatch.setattr(WidthGraphs, "at", lambda self, widths: at(self, {}))
    with PlanTimer.open(SPACE, SIZE) as timer, pytest.raises(RuntimeError, match="differs from the sliced network"):
        timer.ratio(NARROW)
    assert timed == []


def test_a_narrow_network_is_really_faster():
    """A rough bound, which other work on the machine does not break."""
    with PlanTimer.open(SPACE, (3, 64, 64)) as timer:
        assert 0.02 < timer.ratio(NARROW, repeats=30) < 1
