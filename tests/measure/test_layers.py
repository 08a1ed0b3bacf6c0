"""Every layer's time before and after: rows of operators, whatever an engine runs as one, and what is profiled."""

import pytest
import torch

from compress.measure import MeasureConfig, layers, profiling
from compress.measure.layers import add_layers, rows_of
from compress.measure.networks import sliced_network
from compress.spaces import PreResNetSpace, sizes

SPACE, SIZE = PreResNetSpace(11, 5), (3, 16, 16)
OPERATORS = SPACE.operators(SIZE)
FIRST, SECOND, THIRD = (op.name for op in OPERATORS[:3])


def test_operators_that_either_network_runs_as_one_layer_are_one_row_in_forward_order():
    before = {THIRD: 2.0, f"{FIRST} + {SECOND}": 5.0, "rest": 3.0}
    after = {FIRST: 1.0, SECOND: 3.0, THIRD: 2.5}
    assert rows_of(OPERATORS, before, after) == [
        {"name": f"{FIRST} + {SECOND}", "before": 0.5, "after": 0.4},
        {"name": THIRD, "before": 0.2, "after": 0.25},
        {"name": "rest", "before": 0.3, "after": 0.0},
    ]


def test_a_layer_of_which_a_counter_tells_no_microsecond_has_its_row():
    rows = rows_of(OPERATORS, {FIRST: 1.0, SECOND: 0.0}, {FIRST: 1.0, SECOND: 0.0})
    assert rows == [{"name": FIRST, "before": 1.0, "after": 1.0}, {"name": SECOND, "before": 0.0, "after": 0.0}]


def test_operators_that_are_gone_take_no_time_and_those_without_a_layer_have_no_row():
    rows = rows_of(OPERATORS, {FIRST: 1.0, SECOND: 3.0}, {FIRST: 1.0})
    assert rows == [{"name": FIRST, "before": 0.25, "after": 0.25}, {"name": SECOND, "before": 0.75, "after": 0.0}]


@pytest.mark.parametrize("allowed", [True, False])
def test_backends_with_a_profiler_tell_their_layers(monkeypatch, allowed):
    monkeypatch.setattr(profiling, "WARMUP_SECONDS", 0.0)
    monkeypatch.setattr(profiling, "SAMPLE_MS", 0.01)
    exported, written = [], layers.network_of
    monkeypatch.setattr(layers, "network_of", lambda *given: exported.append(given[3].takes) or written(*given))
    torch.manual_seed(0)
    whole = SPACE.build().eval()
    narrow = dict.fromkeys(sizes(SPACE.groups), 4)
    small = sliced_network(whole, SPACE, narrow), SPACE.with_widths(narrow)
    latency = {"backends": {name: {} for name in ("pytorch", "onnxruntime", "openvino", "torch-compile", "tensorrt")}}
    config = MeasureConfig(repeats=2, layers=allowed)
    add_layers(latency, (whole, SPACE), small, input_size=SIZE, config=config)
    told = {name: entry["layers"] for name, entry in latency["backends"].items() if "layers" in entry}
    assert list(told) == (["pytorch", "onnxruntime", "openvino"] if allowed else [])
    assert exported == (["module", "module", "onnx", "onnx"] if allowed else []), "one export serves both engines"
    names = {op.name for op in OPERATORS}
    for rows in told.values():
        assert sum(row["before"] for row in rows) == pytest.approx(1)
        found = [name for row in rows for name in row["name"].split(" + ")]
        assert len(found) == len(set(found))
        assert {op.name for op in OPERATORS if op.kind in ("conv", "linear")} <= set(found) <= names | {"rest"}
        assert all(row["after"] >= 0 for row in rows)
