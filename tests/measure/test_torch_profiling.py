"""Profiles of networks that PyTorch runs eagerly: whose time is whose, with a clock that stands still. Seconds."""

import types
from collections import Counter

import pytest
import torch
from exported_spaces import DEIT, SHALLOW
from test_profiling import quick  # noqa: F401
from torch import nn

from compress.measure import TableConfig, build_table, networks, table_key, timing, torch_profiling
from compress.measure import table as table_module
from compress.measure.networks import timing_network
from compress.measure.owners import REST
from compress.measure.torch_profiling import Timeline, owners_of_modules
from compress.plan import UserError
from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace, VitSpace, sizes

SPACES = {
    "preresnet-inputs": (PreResNetSpace(11, 5, score_inputs=True), 16),
    "mobilenetv2": (MobileNetV2Space(5, 0.35), 32),
    "swin-vtp": (
        SwinSpace(5, "swin_tiny_patch4_window7_224", input_size=36, options=SHALLOW, scored="vtp"),
        36,
    ),
    "vit": (VitSpace(5, "deit_tiny_patch16_224", input_size=32, options=DEIT), 32),
}


def halved(space):
    return space.with_widths({name: max(1, n // 2) for name, n in sizes(space.groups).items()})


def timeline(space, side):
    network = timing_network(space, (3, side, side))
    operators = {op.name for op in space.operators((3, side, side))}
    return Timeline(network, torch.zeros(1, 3, side, side), owners_of_modules(network, space, operators))


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when the networks below say so."""
    made = types.SimpleNamespace(now=0)
    monkeypatch.setattr(torch_profiling, "time", types.SimpleNamespace(perf_counter_ns=lambda: made.now))
    return made


class Slow(nn.Module):
    """Takes `before` nanoseconds, then the modules inside, then `after`."""

    def __init__(self, clock, before, *inside, after=0):
        super().__init__()
        self.clock, self.before, self.after = clock, before, after
        self.inside = nn.ModuleList(inside)

    def forward(self, x):
        self.clock.now += self.before
        for module in self.inside:
            x = module(x)
            self.clock.now += 1  # between two layers
        self.clock.now += self.after
        return x


def test_all_time_is_an_operators_or_the_rest(clock):
    """conv, then attention around qkv and proj, then fc; what follows a layer is the layer's."""
    attention = Slow(clock, 30, Slow(clock, 100), Slow(clock, 200), after=40)
    network = Slow(clock, 5, Slow(clock, 1000), attention, Slow(clock, 7000), after=9)
    modules = {
        "inside.0": "conv",
        "inside.1": "attn.products",
        "inside.1.inside.0": "attn.qkv",
        "inside.1.inside.1": "attn.proj",
        "inside.2": "fc",
    }
    line = Timeline(network, torch.zeros(1), modules)
    for _ in range(3):
        line.call()
    network.before = 500  # the calls before do not count
    for _ in range(4):
        line.call()
    found = line.finish(4)
    assert found == {
        REST: 500,
        "conv": 1000 + 1,
        "attn.qkv": 100,
        "attn.products": 30 + 1 + 1 + 40,
        "attn.proj": 200 + 1,  # and what lies between the attention and the next layer
        "fc": 7000 + 1 + 9,
    }
    clock.now = 0
    network(torch.zeros(1))
    assert clock.now == sum(found.values())
    assert line.stamps == [], "the clock is not read any more"


def test_an_interrupted_call_does_not_count(clock):
    network = Slow(clock, 0, Slow(clock, 100))
    line = Timeline(network, torch.zeros(1), {"inside.0": "conv"})
    for pause in (0, 0, 900, 0, 0):
        network.inside[0].before = 100 + pause
        line.call()
    assert line.finish(5)["conv"] == 101


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("pruned", [False, True])
def test_every_layer_has_its_time(name, pruned):
    space, side = SPACES[name]
    space = halved(space) if pruned else space
    owners = timeline(space, side).owners
    timed = {op.name for op in space.operators((3, side, side)) if op.kind not in ("parameter", "shift")}
    assert set(owners) == {REST, *timed}
    assert owners.count(REST) == 1


def test_gathers_work_for_their_reader():
    space, side = SPACES["preresnet-inputs"]
    whole, gathered = (Counter(timeline(s, side).owners) for s in (space, halved(space)))
    assert {name for name in gathered if gathered[name] != whole[name]} == {
        "layer1.0.bn1", "layer2.0.bn1", "layer3.0.bn1", "bn",
    }  # fmt: skip
    assert gathered["bn"] == whole["bn"] + 2


def test_attention_owns_what_its_layers_do_not_do():
    owners = timeline(*SPACES["vit"]).owners
    begin = owners.index("blocks.0.norm1")
    assert owners[begin : begin + 9] == [
        "blocks.0.norm1", "blocks.0.norm1",
        "blocks.0.attn.products", "blocks.0.attn.qkv", "blocks.0.attn.products", "blocks.0.attn.proj",
        "blocks.0.attn.products", "blocks.0.attn.proj", "blocks.0.norm2",
    ]  # fmt: skip


def test_profiles_are_shares_of_the_unpruned_network(quick):  # noqa: F811
    space, side = SPACES["vit"]
    narrow = dict.fromkeys(sizes(space.groups), 1)
    with table_module._profiler(space, (3, side, side), TableConfig("pytorch", batch=2, rounds=6)) as profiler:
        found, model = profiler.profile(narrow), profiler.networks.model
    assert sum(found.unpruned.values()) == pytest.approx(1)
    assert found.operators.keys() == found.nodes.keys() == found.unpruned.keys()
    assert found.widths == narrow
    assert found.sizes == sizes(space.groups)
    assert 0 < found.ratio < 2
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_table_of_pytorch_is_no_table_of_onnx_runtime(quick, monkeypatch, tmp_path):  # noqa: F811
    space, side = SPACES["vit"]
    samples = {"sliced": [1.5] * 4, "unpruned": [3.0] * 4}
    monkeypatch.setattr(timing, "interleaved", lambda calls, **options: samples)
    monkeypatch.delattr(networks, "WidthGraphs")  # nothing is exported
    config = TableConfig(backend="pytorch", designs=8, rounds=4, multiple=64)
    table = build_table(space, tmp_path / "table.json", input_size=(3, side, side), config=config)
    assert table.check_key(table_key(space, (3, side, side), config)) == []
    assert table.key["versions"].keys() == {"torch"}
    with pytest.raises(UserError, match="backend = 'pytorch' there, 'onnxruntime' here"):
        table.check_key(table_key(space, (3, side, side), TableConfig()))
    assert table.record["residual"]["n"] == 8
    assert table.rest != 0  # its sign is up to the ratio that is made up above
    assert table.unpruned_ms == 3.0
