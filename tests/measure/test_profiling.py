"""Latency tables measured in context: sliced graphs, owners of time, designs, fitting, resuming. About a minute."""

import json
from collections import Counter
from functools import lru_cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from compress.costs import LatencyTable
from compress.export import export_onnx, onnx_session
from compress.export.onnx_file import onnx_graph
from compress.measure import TableConfig, build_table, describe_table, prediction_error, profiling, table_key
from compress.measure import table as table_module
from compress.measure.designs import allowed_widths, sample_designs
from compress.measure.fitting import fit_table, held_out, profiler_overhead
from compress.measure.graphs import WidthGraphs
from compress.measure.networks import check_graphs, timing_network
from compress.measure.owners import REST, name_by_owner, optimised_owners, owner_of
from compress.measure.profiling import OrtProfiler, Profile
from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.spaces import MobileNetV2Space, Operator, PreResNetSpace, SwinSpace, VitSpace, sizes

SHALLOW = {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}
DEIT = {"depth": 2, "patch_size": 8}
SPACES = {
    "preresnet": (PreResNetSpace(11, 5), 16),
    "preresnet-inputs": (PreResNetSpace(11, 5, score_inputs=True), 16),
    "mobilenetv2-outputs": (MobileNetV2Space(5, 0.35, score_outputs=True), 32),
    # 36 pixels are 9 x 9 patches, which windows of 4 do not divide: padding and masks are in the graph.
    "swin": (SwinSpace(5, "swin_tiny_patch4_window7_224", input_size=36, options=SHALLOW), 36),
    "swin-vtp": (SwinSpace(5, "swin_tiny_patch4_window7_224", input_size=36, options=SHALLOW, scored="vtp"), 36),
    "vit": (VitSpace(5, "deit_tiny_patch16_224", input_size=32, options=DEIT), 32),
}


@lru_cache
def made(name):
    """The space, its image size, a network, and the graphs of it; exported once per session."""
    space, side = SPACES[name]
    model = timing_network(space, (3, side, side))
    return space, (3, side, side), model, WidthGraphs(model, space, input_size=(3, side, side))


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
    for seed in range(2):
        assert check_graphs(graphs, model, space, random_widths(space, seed), images) < 5e-5
    assert check_graphs(graphs, model, space, {}, images) < 5e-5


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
    widths = {group: n // 2 for group, n in full.items()}
    plan = WidthPlan(space.name, full, {group: tuple(range(n)) for group, n in widths.items()})
    export_onnx(slice_model(model, space, plan)[0], tmp_path / "exported.onnx", input_size=size)
    (tmp_path / "cut.onnx").write_bytes(graphs.at(widths))
    kinds = [
        Counter(node.op_type for node in optimised(tmp_path / file, tmp_path).node)
        for file in ("exported.onnx", "cut.onnx")
    ]
    assert kinds[0] == kinds[1]


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


@pytest.mark.parametrize("name", ["preresnet", "mobilenetv2-outputs", "swin"])
def test_timing_networks_have_no_denormal_features_and_no_equal_parameters(name):
    _, size, model, _ = made(name)
    tiny = []

    def look(module, args, output):
        values = output.abs()
        tiny.append(int(((values > 0) & (values < torch.finfo(torch.float32).tiny)).sum()))

    # Not the softmax: timm masks with -100, whose exponential is denormal in trained networks too.
    layers = nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.LayerNorm
    hooks = [module.register_forward_hook(look) for module in model.modules() if isinstance(module, layers)]
    with torch.no_grad():
        logits = model(torch.randn(2, *size))
    for hook in hooks:
        hook.remove()
    assert len(tiny) > 10
    assert sum(tiny) == 0
    assert 1e-6 < logits.abs().max() < 1e6
    values = [tuple(p.detach().flatten()[:4].tolist()) for p in model.parameters()]
    assert len(set(values)) == len(values)


def test_timing_networks_leave_the_random_state_alone():
    state = torch.random.get_rng_state()
    timing_network(SPACES["preresnet"][0], (3, 16, 16))
    assert torch.equal(state, torch.random.get_rng_state())


def test_designs_cover_every_group_evenly():
    allowed = {"wide": list(range(8, 977, 8)), "narrow": [8, 16], "single": [16]}
    designs = sample_designs(allowed, 16, seed=0)
    assert designs == sample_designs(allowed, 16, seed=0) != sample_designs(allowed, 16, seed=1)
    for group, widths in allowed.items():
        positions = sorted(widths.index(design[group]) for design in designs)
        assert positions[0] == 0
        for part, position in enumerate(positions):
            assert part * len(widths) / 16 - 1 < position < (part + 1) * len(widths) / 16


def test_designs_are_narrow_or_wide_as_a_whole():
    allowed = {str(i): list(range(8, 513, 8)) for i in range(40)}
    designs = sample_designs(allowed, 64, seed=2)
    table = np.array([list(design.values()) for design in designs])
    between = np.corrcoef(table.T)[np.triu_indices(40, 1)]
    assert 0.3 < between.mean() < 0.7


def test_allowed_widths_are_multiples_and_the_full_width():
    space = MobileNetV2Space(5, 0.35)
    allowed = allowed_widths(space.groups, 16)
    for group in space.groups:
        assert allowed[group.name][-1] == group.size
        assert allowed[group.name][:-1] == [n for n in range(1, group.size) if n % 16 == 0]


def test_a_profile_accounts_for_all_nodes(tmp_path):
    """Three calls count, two were warm-up."""
    events = [{"cat": "Session", "name": "model_run", "dur": 999}]
    for us in (70, 80, 10, 10, 10):
        events += [
            {"cat": "Node", "name": f"{n}_kernel_time", "dur": us * k} for n, k in (("a", 1), ("b", 2), ("c", 5))
        ]
        events += [{"cat": "Node", "name": "a_fence_before", "dur": 7}]
    (tmp_path / "profile.json").write_text(json.dumps(events))
    found = profiling._operator_us(str(tmp_path / "profile.json"), {"a": "conv", "b": "conv", "c": REST}, 3)
    assert found == {"conv": pytest.approx(30), REST: pytest.approx(50)}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("interrupted", [0, 1, 4, 8])
def test_interruptions_of_half_of_the_calls_do_not_count(interrupted):
    samples = [10.0, 11.0] * 8
    samples[:interrupted] = [500.0] * interrupted
    assert 10 <= profiling.steady_mean(samples) <= 11
    assert profiling.steady_mean([7.0]) == 7


def staircase(op, n_in, n_out):
    """What an operator costs in the synthetic profiles: channels in blocks of 16, and a fixed part."""
    return 0.01 + 0.2 * (np.ceil(n_in / 16) / 6) * (np.ceil(n_out / 16) / 6) + (0.004 if n_out % 16 else 0)


OPERATORS = tuple(
    Operator(f"op{i}", "conv", n_in, n_out, macs=1, weights=1)
    for i, (n_in, n_out) in enumerate([(96, "a"), ("a", "b"), ("b", "c"), ("c", 96), (96, 96)])
)
GRIDS = {name: list(range(8, 97, 8)) for name in "abc"}


def profiles(n, *, overhead, seed, noise=0.0):
    """Profiles of networks with a known cost, in which every node also pays for the profiler."""
    rng = np.random.default_rng(seed)
    full = dict.fromkeys("abc", 96)

    def true(widths):
        return {op.name: staircase(op, widths.get(op.n_in, 96), widths.get(op.n_out, 96)) for op in OPERATORS}

    found = []
    for i, widths in enumerate(sample_designs(GRIDS, n, seed=seed)):
        total = sum(true(full).values())
        nodes = {op.name: 1 + (i + k) % 3 for k, op in enumerate(OPERATORS)}
        full_nodes = dict.fromkeys(nodes, 1)

        def profiled(costs, nodes, total=total):
            return {
                name: (1 - overhead) * cost / total * (1 + noise * rng.standard_normal()) + overhead * nodes[name] / 5
                for name, cost in costs.items()
            }

        ratio = sum(true(widths).values()) / total * (1 + noise * rng.standard_normal())
        parts = profiled(true(widths), nodes), profiled(true(full), full_nodes)
        found.append(Profile(widths, full, *parts, nodes, full_nodes, ratio, 10.0, 0.2))
    return found, sum(true(full).values())


def test_fit_finds_staircases_and_the_profilers_overhead():
    found, total = profiles(24, overhead=0.15, seed=0)
    assert profiler_overhead(found) == pytest.approx(0.15)
    table = fit_table({}, OPERATORS, GRIDS, found)
    for op in OPERATORS:
        for n_in in GRIDS.get(op.n_in, [96]):
            for n_out in GRIDS.get(op.n_out, [96]):
                wanted = staircase(op, n_in, n_out) / total
                assert table.price(op, n_in, n_out) == pytest.approx(wanted, abs=0.002)
    assert table.predict(OPERATORS, dict.fromkeys("abc", 96)).ratio == pytest.approx(1, abs=1e-3)
    assert table.unpruned_ms == 10


def test_time_that_no_timed_operator_owns_is_the_rest():
    """What is left of removed blocks, when a network is pruned again, and what comes before the first layer."""
    found, _ = profiles(16, overhead=0.1, seed=6)
    untimed = {"left": 0.08, REST: 0.03}

    def with_more(p, shares, nodes):
        """Each an untimed node, paid for like all others; shares are of a total that is 1.11 times as large."""
        n, all_nodes = len(untimed), sum(p.unpruned_nodes.values())
        whole = 1 + sum(untimed.values())
        costs = {name: 0.9 * share / whole + 0.1 / (all_nodes + n) for name, share in untimed.items()}
        own = {
            k: (s - 0.1 * nodes[k] / all_nodes) / whole + 0.1 * nodes[k] / (all_nodes + n) for k, s in shares.items()
        }
        return {**own, **costs}, {**nodes, **dict.fromkeys(untimed, 1)}

    more = []
    for p in found:
        (own, nodes), (full, full_nodes) = (
            with_more(p, p.operators, p.nodes),
            with_more(p, p.unpruned, p.unpruned_nodes),
        )
        more.append(Profile(p.widths, p.sizes, own, full, nodes, full_nodes, (p.ratio + 0.11) / 1.11, 10.0, 0.2))
    left = Operator("left", "shift", 1, 96, macs=0, weights=0, biases=1)
    table = fit_table({}, (*OPERATORS, left), GRIDS, more)
    assert table.record["profiler_overhead"] == pytest.approx(0.1)
    assert table.rest == pytest.approx(0.11 / 1.11)
    assert "left" not in table.operators
    assert table.predict((*OPERATORS, left), dict.fromkeys("abc", 96)).ratio == pytest.approx(1, abs=1e-3)


def test_a_disturbed_network_does_not_change_the_overhead():
    found, _ = profiles(16, overhead=0.1, seed=4)
    found[3] = Profile(**{**vars(found[3]), "ratio": 2 * found[3].ratio})
    assert profiler_overhead(found) == pytest.approx(0.1)


def test_profiles_of_the_unpruned_network_alone_know_no_overhead():
    (profile, *_), _ = profiles(8, overhead=0.1, seed=4)
    same = {"operators": profile.unpruned, "nodes": profile.unpruned_nodes, "widths": profile.sizes, "ratio": 1.0}
    assert profiler_overhead([Profile(**{**vars(profile), **same})] * 8) == 0


def test_a_gather_costs_all_but_the_full_width():
    """Without being told, the fit would flatten the slope to meet the cheap full width."""
    reader = Operator("reader", "norm", 1, "a", macs=0, weights=0)
    found, _ = profiles(24, overhead=0.0, seed=5)
    costs = {n: 0.05 + 0.3 * n / 96 if n < 96 else 0.1 for n in GRIDS["a"]}
    nodes = {"reader": 1}
    made_up = [
        Profile(p.widths, p.sizes, {"reader": cost}, {"reader": costs[96]}, nodes, nodes, cost, 1.0, 0.2)
        for p in found
        for cost in [costs[p.widths["a"]]]
    ]
    table = fit_table({}, [reader], GRIDS, made_up, gathered={"a"})
    for n, cost in costs.items():
        assert table.price("reader", 1, n) == pytest.approx(cost, abs=0.005)


def test_held_out_networks_are_predicted():
    found, _ = profiles(32, overhead=0.1, seed=1, noise=0.01)
    error = prediction_error(held_out(OPERATORS, GRIDS, found).tolist(), [p.ratio for p in found])
    assert error["n"] == 32
    assert error["median"] < 0.015
    assert error["p90"] < 0.035
    assert error["rank_correlation"] > 0.98


def test_held_out_networks_are_really_held_out():
    """A network that is measured wrongly is not predicted by itself."""
    found, _ = profiles(16, overhead=0.0, seed=2)
    wrong = Profile(**{**vars(found[5]), "operators": {k: 3 * v for k, v in found[5].operators.items()}})
    before = held_out(OPERATORS, GRIDS, found)[5]
    after = held_out(OPERATORS, GRIDS, [*found[:5], wrong, *found[6:]])
    assert after[5] == pytest.approx(before)
    assert np.abs(after[[i for i in range(16) if i % 4 != 1]] - before).max() > 0.01


def test_removed_operators_cost_nothing():
    found, _ = profiles(16, overhead=0.0, seed=3)
    table = fit_table({}, OPERATORS, {**GRIDS, "b": [0, *GRIDS["b"]]}, found)
    assert table.price("op1", 96, 0) == table.price("op2", 0, 96) == 0
    assert table.price("op1", 96, 8) > 0


def test_prediction_error_and_its_words():
    error = prediction_error([0.5, 0.8, 1.1], [0.5, 1.0, 1.0])
    assert error["median"] == pytest.approx(0.1)
    assert error["rank_correlation"] == pytest.approx(0.5, abs=0.51)
    residual = {"median": 0.0123, "p90": 0.031, "rank_correlation": 0.991, "n": 20}
    quiet = LatencyTable({}, 1.0, {}, {}, 0.0, {"residual": residual, "reference_ms": [0.2, 0.21]})
    assert "1.2% (90 % of 20 within 3.1%)" in describe_table(quiet)
    assert "0.991" in describe_table(quiet)
    assert "speed" not in describe_table(quiet)
    busy = LatencyTable({}, 1.0, {}, {}, 0.0, {"residual": residual, "reference_ms": [0.2, 0.3]})
    assert "speed changed by 50%" in describe_table(busy)


class Recorder:
    def __init__(self):
        self.begun, self.steps, self.notes = None, 0, []

    def start(self, stage, total, done):
        self.begun = (total, done)

    def advance(self):
        self.steps += 1

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(profiling, "WARMUP_SECONDS", 0.0)
    monkeypatch.setattr(profiling, "SAMPLE_MS", 0.01)
    monkeypatch.setattr(profiling, "time_reference", lambda: 0.2)


def test_profiles_are_shares_of_the_unpruned_network(quick):
    space, size, _, graphs = made("preresnet")
    narrow = dict.fromkeys(graphs.sizes, 1)
    with OrtProfiler.open(graphs, np.zeros((2, *size), np.float32), threads=1, rounds=12) as profiler:
        found = profiler.profile(narrow)
        folder = profiler.folder
        assert {file.name for file in folder.iterdir()} == {"sliced.onnx", "unpruned.onnx"}
    assert not folder.exists()
    assert sum(found.unpruned.values()) == pytest.approx(1)
    assert found.operators.keys() == found.nodes.keys()
    assert set(found.operators) <= {REST, *(op.name for op in space.operators(size))}
    assert found.widths == narrow
    assert found.sizes == sizes(space.groups)
    assert 0 < found.ratio < 2
    assert found.unpruned_ms > 0


def test_a_stopped_table_goes_on(quick, monkeypatch, tmp_path):
    space, size, _, graphs = made("preresnet")
    monkeypatch.setattr(table_module, "WidthGraphs", lambda *args, **options: graphs)  # saves two exports
    config = TableConfig(designs=8, rounds=4)
    path, kept = tmp_path / "table.json", tmp_path / "table.profiles.json"
    profile, done = OrtProfiler.profile, []

    def stops(self, widths):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(widths)
        return profile(self, widths)

    monkeypatch.setattr(OrtProfiler, "profile", stops)
    with pytest.raises(KeyboardInterrupt):
        build_table(space, path, input_size=size, config=config)
    assert len(json.loads(kept.read_text())["profiles"]["ratio"]) == 3
    assert not path.exists()
    with pytest.raises(UserError, match=r"other settings \(multiple\)"):
        build_table(space, path, input_size=size, config=TableConfig(designs=8, rounds=4, multiple=16), resume=True)

    monkeypatch.setattr(OrtProfiler, "profile", profile)
    progress = Recorder()
    table = build_table(space, path, input_size=size, config=config, resume=True, progress=progress)
    assert progress.begun == (8, 3)
    assert progress.steps == len(progress.notes) == 5
    assert not kept.exists()
    allowed = allowed_widths(space.groups, 8)
    assert [design["widths"] for design in table.record["designs"]] == sample_designs(allowed, 8, seed=0)
    assert [design["widths"] for design in table.record["designs"][:3]] == done

    again = LatencyTable.load(path)
    assert again.check_key(table_key(space, size, config)) == []
    operators = space.operators(size)
    assert again.predict(operators, done[0]).ratio == pytest.approx(table.predict(operators, done[0]).ratio, rel=1e-4)
    assert again.record["residual"]["n"] == len(again.record["reference_ms"]) == 8
    assert again.widths == {name: tuple(widths) for name, widths in allowed.items()}
    rows = again.record["samples"]["layer2.0.conv2"]
    assert [row[:2] for row in rows[:-1]] == [
        [design["widths"]["layer2.0.conv1"], design["widths"]["layer2.0.conv2"]] for design in again.record["designs"]
    ]
    assert rows[-1][:2] == [32, 32]


def test_blocks_that_can_go_have_width_zero(monkeypatch, tmp_path):
    space, size, *_ = made("mobilenetv2-outputs")
    operators, full = space.operators(size), sizes(space.groups)
    shares = {op.name: 1 / len(operators) for op in operators if op.macs}  # BatchNorms are merged
    nodes = dict.fromkeys(shares, 1)

    def fake(space, input_size, config, designs):
        return (Profile({**full, **widths}, full, shares, shares, nodes, nodes, 1.0, 5.0, 0.2) for widths in designs)

    monkeypatch.setattr(table_module, "_profiles", fake)
    table = build_table(space, tmp_path / "table.json", input_size=size, config=TableConfig(designs=8))
    removable = {group.name for group in space.groups if group.rest is not None}
    assert removable
    assert {name for name, widths in table.widths.items() if widths[0] == 0} == removable
    gone = dict.fromkeys(removable, 0)
    assert table.predict(operators, {**full, **gone}).ratio < table.predict(operators, full).ratio - 0.1
    # What is left of the network without those blocks costs the same.
    left = space.with_widths(gone)
    assert table.predict(left.operators(size), sizes(left.groups)).ratio == pytest.approx(
        table.predict(operators, {**full, **gone}).ratio
    )


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "openvino"},
        {"threads": 0},
        {"batch": 0},
        {"designs": 7},
        {"multiple": 0},
        {"rounds": 3},
        {"batch": 1.5},
    ],
)
def test_bad_config(options):
    (name,) = options
    with pytest.raises(UserError, match=name):
        TableConfig(**options)
