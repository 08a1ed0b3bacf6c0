"""Graphs cut from one export compute what sliced networks compute, and every node has an owner. About half a minute."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from exported_spaces import SPACES, made
from torch import nn

from compress.export import export_onnx, onnx_session
from compress.export.onnx_file import onnx_graph
from compress.measure.graphs import WidthGraphs
from compress.measure.networks import check_graphs, timing_network
from compress.measure.owners import REST, name_by_owner, optimised_owners, owner_of
from compress.plan import WidthPlan
from compress.pruning import slice_model
from compress.spaces import MobileNetV2Space, blocks_of, members_of, sizes


def random_widths(space, seed):
    rng = np.random.default_rng(seed)
    return {name: int(rng.choice([1, n, rng.integers(1, n + 1)])) for name, n in sizes(space.groups).items()}


def optimised(path, folder):
    """The graph that ONNX Runtime makes of the file at `path`."""
    options = onnx_session(path).get_session_options()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(str(folder / "optimised.onnx")).graph


@pytest.mark.parametrize("name", SPACES)
def test_graphs_compute_what_sliced_networks_compute(name):
    space, size, model, graphs = made(name)
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(3))
    blocks = members_of(blocks_of(space.groups))
    for seed in range(2):
        gone = {group: 0 for names in blocks[seed::2] for group in names}
        assert check_graphs(graphs, model, space, random_widths(space, seed) | gone, images) < 5e-5
    assert check_graphs(graphs, model, space, {}, images) < 5e-5


def test_what_is_left_of_a_removed_block_narrows_with_its_stream():
    whole, size = MobileNetV2Space(5, 0.35, score_outputs=True), (3, 32, 32)
    gone = [group for names in members_of(blocks_of(whole.groups)) for group in names]
    assert "blocks.2.1" in gone
    space = whole.with_widths(dict.fromkeys(gone, 0))
    model = timing_network(space, size)
    graphs = WidthGraphs(model, space, input_size=size)
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(3))
    assert check_graphs(graphs, model, space, {"blocks.2.out": 7}, images) < 5e-5


@pytest.mark.parametrize("name", ["preresnet-inputs", "swin-vtp"])
def test_graphs_of_pruned_networks_gather_no_more_often_than_the_networks(name):
    """A pruned network has gathers of its own, which are cut; they work for the layer that reads them."""
    space, side = SPACES[name]
    pruned = space.with_widths({group: n // 2 + 1 for group, n in sizes(space.groups).items()})
    size = (3, side, side)
    model = timing_network(pruned, size)
    graphs = WidthGraphs(model, pruned, input_size=size)
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(3))
    for widths in ({}, random_widths(pruned, seed=1)):
        assert check_graphs(graphs, model, pruned, widths, images) < 5e-5
    gathers = [
        [
            owner_of(node.name)
            for node in onnx.load_from_string(graphs.at(widths)).graph.node
            if node.op_type == "Gather"
        ]
        for widths in ({}, dict.fromkeys(graphs.sizes, 1))
    ]
    assert gathers[0] == gathers[1]
    assert {group.modules[0] for group in pruned.groups if group.index} <= set(gathers[0])


def test_wrong_graphs_are_noticed():
    space, size, _, graphs = made("preresnet")
    other = timing_network(space, size, seed=1)
    with pytest.raises(RuntimeError, match="differs from the sliced network"):
        check_graphs(graphs, other, space, {}, torch.randn(1, *size))


@pytest.mark.parametrize("name", ["preresnet-inputs", "swin", "vit"])
def test_the_engine_runs_the_nodes_that_it_runs_for_an_export(name, tmp_path):
    space, size, model, graphs = made(name)
    full = sizes(space.groups)
    gone = [group for names in members_of(blocks_of(space.groups))[::3] for group in names]
    assert gone
    widths = {group: n // 2 for group, n in full.items()} | dict.fromkeys(gone, 0)
    plan = WidthPlan(space.name, full, {group: tuple(range(n)) for group, n in widths.items()})
    export_onnx(slice_model(model, space, plan)[0], tmp_path / "exported.onnx", input_size=size)
    (tmp_path / "cut.onnx").write_bytes(graphs.at(widths))
    kinds = [
        Counter(node.op_type for node in optimised(tmp_path / file, tmp_path).node)
        for file in ("exported.onnx", "cut.onnx")
    ]
    assert not kinds[0] - kinds[1]
    assert not {*(kinds[1] - kinds[0])} - {"Reshape"}, "an MLP without attention reads maps as they are"
    owners = {owner_of(node.name) for node in onnx.load(tmp_path / "cut.onnx").graph.node}
    assert not owners & {op.name for op in space.operators(size) if {*op.groups} & {*gone}}


@pytest.mark.parametrize("name", SPACES)
def test_every_node_has_an_owner_and_every_layer_its_time(name, tmp_path):
    space, size, _, graphs = made(name)
    operators = {op.name: op for op in space.operators(size)}
    for widths in ({}, random_widths(space, seed=7)):
        (tmp_path / "model.onnx").write_bytes(graphs.at(widths))
        graph = optimised(tmp_path / "model.onnx", tmp_path)
        owners = optimised_owners(graph)
        assert set(owners) == {node.name for node in graph.node}
        assert set(owners.values()) <= {*operators, REST}
        compute = {op.name for op in operators.values() if op.macs}
        assert compute <= set(owners.values())
        heavy = [n for n in graph.node if n.op_type in ("Conv", "FusedConv", "Gemm", "MatMul", "FusedMatMul")]
        # A BatchNorm alone becomes a depthwise convolution.
        assert {owners[n.name] for n in heavy} <= compute | {op.name for op in operators.values() if op.kind == "norm"}
        for node in graph.node:
            if node.op_type == "Softmax":
                assert operators[owners[node.name]].kind == "attention"


def test_fused_nodes_belong_to_the_convolution_and_layout_changes_to_their_reader(tmp_path):
    *_, graphs = made("preresnet-inputs")
    (tmp_path / "model.onnx").write_bytes(graphs.at({"layer1.0.conv1": 8, "layer2.0.input": 24}))
    graph = optimised(tmp_path / "model.onnx", tmp_path)
    owned = {}
    for node, owner in optimised_owners(graph).items():
        owned.setdefault(owner, []).append(next(n.op_type for n in graph.node if n.name == node))
    assert owned["layer1.0.conv1"] == ["Conv"]  # with bn2 and ReLU
    assert "layer1.0.bn2" not in owned
    assert {"Gather", "BatchNormalization", "Relu"} <= set(owned["layer2.0.bn1"])
    assert "Gather" not in owned.get("layer1.0.conv3", [])


def test_sums_belong_to_the_branch_that_they_add():
    node = onnx.helper.make_node
    nodes = [node("Conv", ["x", "w"], ["stream"]), node("Conv", ["stream", "v"], ["y"]), node("Relu", ["y"], ["r"])]
    nodes += [node("Add", ["stream", "r"], ["s"]), node("Shape", ["x"], ["n"])]
    value = onnx.helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(nodes, "g", [], [value])
    name_by_owner(graph, ["stem", "branch", None, None, None])
    assert [owner_of(n.name) for n in graph.node] == ["stem", "branch", "branch", "branch", REST]
    assert graph.node[3].output == ["s"]
    assert list(graph.node[3].input) == [graph.node[0].output[0], graph.node[2].output[0]]


def test_modules_of_tensors_are_known_and_not_written(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Tanh()), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    proto, modules = onnx_graph(network, input_size=(3, 8, 8))
    found = {node.op_type: modules[node.output[0]] for node in proto.graph.node}
    assert found["Conv"] == "0"
    assert found["Tanh"] == "1.0"
    assert not any(node.metadata_props for node in proto.graph.node)
    text = onnx.load(export_onnx(network, tmp_path / "model.onnx", input_size=(3, 8, 8)))
    assert "name_scopes" not in str(text)
