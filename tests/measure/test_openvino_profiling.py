"""OpenVINO's counters: running means become times, layers become regions, and a table is made of them."""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from exported_spaces import made
from test_openvino import needs_it
from test_profiling import quick  # noqa: F401

from compress.costs import LatencyTable
from compress.measure import TableConfig, build_table, networks
from compress.measure import table as table_module
from compress.measure.backends import Times
from compress.measure.backends.openvino import OpenVino
from compress.measure.openvino_profiling import CountedNetwork, graph_layers
from compress.measure.owners import REST, layer_regions, owners_in
from compress.measure.regions import members


class Value(str):
    """What a compiled graph tells of a layer."""

    def astype(self, kind):
        return kind(self)


class Layer:
    """A layer of a compiled graph that holds the nodes `names`, and reads `inputs`."""

    def __init__(self, name, names="", inputs=()):
        self.name, self.names, self.asked = name, names, inputs

    def get_friendly_name(self):
        return self.name

    def get_rt_info(self):
        return {"originalLayersNames": Value(self.names)}

    def inputs(self):
        return [
            SimpleNamespace(get_source_output=lambda made=made: SimpleNamespace(get_node=lambda: made))
            for made in self.asked
        ]


OWNERS = {"conv1#0": "conv1", "conv2#1": "conv2", "conv2#2": "conv2", "bn#3": "bn", "logits": "fc", "x#4": REST}


def graph():
    images = Layer("images", "images")
    layout = Layer("images_abcd_acdb_conv1#0", inputs=[images])
    first = Layer("conv1#0", "conv1#0/WithoutBiases,conv1#0", inputs=[layout])
    second = Layer("conv2#1", "conv2#1,conv2#2,Multiply_17,bn#3,x#4", inputs=[first])
    split = Layer("VariadicSplit_1", "VariadicSplit_1", inputs=[second])
    last = Layer("logits", "logits", inputs=[split])
    lost = Layer("lost", "", inputs=[first])
    layers = [images, layout, first, second, split, last, lost, Layer("alone", "")]
    return SimpleNamespace(get_ordered_ops=lambda: layers)


def test_layers_belong_to_the_operators_whose_nodes_they_hold():
    assert layer_regions(graph_layers(graph()), OWNERS) == {
        "images": "conv1", "images_abcd_acdb_conv1#0": "conv1", "conv1#0": "conv1",
        "conv2#1": "bn + conv2", "VariadicSplit_1": "fc", "logits": "fc", "lost": "conv1", "alone": REST,
    }  # fmt: skip


def test_a_file_tells_its_nodes_by_their_names_and_outputs():
    nodes = [SimpleNamespace(name="fc#7", output=["logits"]), SimpleNamespace(name="made up", output=["y"])]
    assert owners_in(SimpleNamespace(node=nodes)) == {"fc#7": "fc", "logits": "fc", "made up": REST, "y": REST}


class Request:
    """Counters of a request whose calls take what `times` says, {layer: microseconds} of each."""

    def __init__(self, times):
        self.times, self.calls, self.sums = iter(times), 0, {}

    def infer(self, images, **options):
        self.calls += 1
        for name, us in next(self.times).items():
            self.sums[name] = self.sums.get(name, 0) + us

    @property
    def profiling_info(self):
        entries = [("conv2#2", 0), *((name, us // self.calls) for name, us in self.sums.items())]
        return [SimpleNamespace(node_name=name, real_time=timedelta(microseconds=us)) for name, us in entries]


def counted(times, seconds=None):
    """{region: microseconds} of a network whose calls take `times`, and its nodes; the last 20 calls count."""
    compiled = SimpleNamespace(
        create_infer_request=lambda: Request(times),
        get_runtime_model=graph,
    )
    network = CountedNetwork(compiled, np.zeros((1, 3, 4, 4), np.float32), OWNERS)
    for _ in times[1:]:
        network.call()
    network.seconds = list(seconds or [1.0] * (len(times) - 1))
    return network.finish(20), network.nodes


STEADY = {"conv1#0": 40, "conv2#1": 70, "images_abcd_acdb_conv1#0": 3, "logits": 10}


def test_running_means_become_times():
    first = {**STEADY, "logits": 4_000}
    times, nodes = counted([first, *[STEADY] * 60])
    assert times == {
        "conv1": pytest.approx(43, abs=1),
        "bn + conv2": pytest.approx(70, abs=1),
        "fc": pytest.approx(10, abs=1.5),
    }
    assert nodes == {"conv1": 2, "bn + conv2": 1, "fc": 1}


def test_interrupted_calls_do_not_count_where_they_were():
    disturbed = [STEADY] * 60
    disturbed[20], disturbed[41] = {**STEADY, "conv1#0": 6_040}, {**STEADY, "logits": 9_010}
    (times, _), (steady, _) = counted([STEADY, *disturbed]), counted([STEADY] * 61)
    assert times == {name: pytest.approx(us, abs=2) for name, us in steady.items()}


def test_the_sum_is_that_of_the_calls_that_count():
    """The first ones, before the others ran beside them, took twice as long as those."""
    (times, _), (steady, _) = counted([STEADY] * 61, seconds=[2.0] * 40 + [1.0] * 20), counted([STEADY] * 61)
    part = 1 / np.mean([2.0] * 37 + [1.0] * 20)
    assert times == {name: pytest.approx(part * us) for name, us in steady.items()}


@pytest.fixture
def layers_alone(quick, monkeypatch):  # noqa: F811
    """Whole calls are not timed: they take as long as those of ONNX Runtime, and are tested there."""
    times = Times({"sliced": [0.5] * 4, "unpruned": [1.0] * 4}, {})
    monkeypatch.setattr(OpenVino, "time", lambda *args, **options: times)


@needs_it
@pytest.mark.parametrize("name", ["preresnet", "swin"])
def test_all_time_is_some_operators(name, layers_alone, monkeypatch):
    space, size, _, graphs = made(name)
    monkeypatch.setattr(networks, "WidthGraphs", lambda *args, **options: graphs)  # saves an export
    narrow = {group.name: 4 for group in space.groups}
    with table_module._profiler(space, size, TableConfig("openvino", rounds=4)) as profiler:
        found = profiler.profile(narrow)
    known = {op.name for op in space.operators(size)} | ({REST} if name == "swin" else set())
    timed = {each for region in found.operators for each in members(region)}
    assert timed <= known, "only what stands behind the sums of Swin's blocks is the rest's"
    assert found.operators.keys() == found.nodes.keys()
    assert sum(found.unpruned.values()) == pytest.approx(1)
    whole = [sum(each.values()) for each in (found.nodes, found.unpruned_nodes)]
    assert 0.8 < whole[0] / whole[1] < 1.3
    fused = [name for name in found.operators if len(members(name)) > 1]
    assert bool(fused) == (name == "preresnet"), "the sum with the shortcut is in the convolution's layer"


@needs_it
def test_a_table_is_made(layers_alone, monkeypatch, tmp_path):
    space, size, _, graphs = made("preresnet")
    monkeypatch.setattr(networks, "WidthGraphs", lambda *args, **options: graphs)
    config = TableConfig("openvino", designs=8, rounds=4)
    table = build_table(space, tmp_path / "table.json", input_size=size, config=config)
    assert table.key["backend"] == "openvino"
    assert "openvino" in table.key["versions"]
    assert table.record["profiles"]["regions"]
    again = build_table(space, tmp_path / "table.json", input_size=size, config=config, resume=True)
    assert (
        again.record["samples"].keys()
        == table.record["samples"].keys()
        > {"bn + layer3.0.conv3 + layer3.0.downsample.0"}
    )
    operators = space.operators(size)
    ratios = [
        each.predict(operators, graphs.sizes).ratio
        for each in (table, again, LatencyTable.load(tmp_path / "table.json"))
    ]
    assert ratios[0] > 0
    assert ratios == [ratios[0]] * 3
