"""A sliced network beside the unpruned one: which networks are timed, how often, and what is made of their times."""

import numpy as np
import pytest
import torch

from compress.measure import MeasureConfig, timing
from compress.measure.networks import sliced_network
from compress.measure.sliced import MOST_REPEATS, sliced_ratio
from compress.plan.backends import BACKENDS
from compress.spaces import PreResNetSpace, sizes

SPACE, SIZE = PreResNetSpace(11, 5), (3, 16, 16)
NARROW = dict.fromkeys(sizes(SPACE.groups), 4)


@pytest.mark.parametrize("backend", ["pytorch", "onnxruntime"])
def test_both_networks_are_timed_in_turn(backend, monkeypatch):
    torch.manual_seed(0)
    whole = SPACE.build().eval()
    small = sliced_network(whole, SPACE, NARROW)
    seen = []

    def pretend(calls, *, repeats, warmup_seconds, **_):
        seen.append((list(calls), repeats, warmup_seconds, {name: np.asarray(call()) for name, call in calls.items()}))
        return {"unpruned": [2.0, 2.0], "pruned": [1.0, 1.2]}

    monkeypatch.setattr(timing, "interleaved", pretend)
    ratio = sliced_ratio(
        (whole, SPACE),
        (small, SPACE.with_widths(NARROW)),
        input_size=SIZE,
        backend=BACKENDS.find(backend),
        config=MeasureConfig(batch=2, repeats=1000),
    )
    assert ratio == pytest.approx({"median": 0.55, "p10": 0.5, "p90": 0.6})
    assert [names for names, *_ in seen] == [["pruned", "unpruned"], ["unpruned", "pruned"], ["pruned", "unpruned"]]
    images = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = {"unpruned": whole(images).numpy(), "pruned": small(images).numpy()}
    for _, repeats, warmup, outputs in seen:
        assert 3 * repeats <= MOST_REPEATS
        assert warmup <= 0.1
        for name, output in outputs.items():
            assert output == pytest.approx(wanted[name], abs=1e-4)
