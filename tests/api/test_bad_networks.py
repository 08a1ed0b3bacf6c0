"""Networks that cannot be pruned exactly, or are none, are refused in one line and stay as they were."""

from __future__ import annotations

import pytest
import torch
from odd_networks import (
    Auxiliary,
    Branching,
    Constants,
    Counting,
    Dropping,
    EarlyExit,
    ForgetsItself,
    InADict,
    InATuple,
    InNumpy,
    InPlace,
    Locked,
    Looping,
    Named,
    Noisy,
    Nothing,
    OneLayer,
    OwnCalls,
    Plain,
    Tied,
    TwoImages,
    WithAState,
    in_two_precisions,
    lazy,
    partly_on_meta,
    scripted,
    with_a_history,
    with_a_mask,
    with_nan,
)
from torch import nn
from torch.utils.data import TensorDataset

import compress
from compress.plan import UserError, WidthPlan
from compress.spaces import GIVEN, LiveSpace, sizes

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VALUES = "asks for values of what it computes"
ONE_SHOT = {"method": "magnitude", "pruning_ratio": 0.4, "round_to": 1, "quiet": True}


def refused(call, words):
    with pytest.raises(UserError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


NETWORKS = [
    (lambda: None, "model = NoneType: must be an nn.Module"),
    (lambda: Plain, r"model = the class Plain: .* give a network of this class: Plain\("),
    (lambda: Plain().state_dict(), "model = OrderedDict: must be an nn.Module"),
    (scripted, "give the network that was scripted"),
    (lambda: nn.DataParallel(Plain()), "give its .module"),
    (lazy, "0.weight has no shape yet"),
    (partly_on_meta, "model = Plain: b.weight has no values"),
    (lambda: Plain().half(), "a.weight is float16; its parameters must be float32; give model.float"),
    (lambda: Plain().double(), "a.weight is float64"),
    (lambda: Plain().to(torch.complex64), "a.weight is complex64; .* real numbers"),
    (with_nan, r"model = Plain: b.weight\[0, 0, 0, 0\] = nan, and 72 of its 432 values .* before training diverged"),
    (with_a_history, "model = Plain: cannot be copied .*parametrizations"),
    (with_a_mask, r"model = Plain: cannot be copied .*torch.nn.utils.prune.remove"),
    (Locked, "model = Locked: cannot be copied"),
    (WithAState, "model = WithAState: _extra_state of its state dict is a dict; must be a tensor"),
    (Branching, f"model = Branching: its forward pass {VALUES}"),
    (Looping, VALUES),
    (EarlyExit, VALUES),
    (Counting, VALUES),
    (InNumpy, VALUES),
    (Noisy, "model = Noisy: two calls with one input, in evaluation mode, give outputs .* apart"),
    (OwnCalls, "two calls with one input"),
    (Auxiliary, "model = Auxiliary: aux is called in training mode alone"),
    (Named, "model = Named: gives a SimpleNamespace; its outputs must be tensors"),
    (Nothing, "no convolution or linear layer is on the way"),
]


@pytest.mark.parametrize(("make", "words"), NETWORKS)
def test_what_cannot_be_traced_is_one_line(make, words):
    model = make()
    modes = [module.training for module in model.modules()] if isinstance(model, nn.Module) else []
    refused(lambda: compress.groups_of(model, X), words)
    assert modes == ([module.training for module in model.modules()] if isinstance(model, nn.Module) else [])


@pytest.mark.parametrize(("make", "words"), [NETWORKS[0], NETWORKS[6], NETWORKS[13]])
def test_pruning_refuses_it_as_well_and_writes_nothing(make, words, tmp_path):
    refused(lambda: compress.prune(make(), X, work_dir=tmp_path / "run", **ONE_SHOT), words)
    refused(lambda: compress.score(make(), X, method="magnitude", quiet=True), words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (OneLayer, r"model = OneLayer: no channels of it can be pruned exactly \(head: .*\); give another network"),
        (TwoImages, "model = TwoImages: does not run on one image of 3 x 8 x 8"),
        (ForgetsItself, r"model = ForgetsItself: its train\(\) gives NoneType; end it with return self"),
        (in_two_precisions, "model = Plain: does not take example_input in float32 .*; give model.float"),
    ],
)
def test_what_pruning_alone_needs_is_one_line(make, words, tmp_path):
    refused(lambda: compress.prune(make(), X, work_dir=tmp_path / "run", **ONE_SHOT), words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (InADict, r"model = InADict: gives a dict; cross entropy wants logits \[B, classes\]; give loss"),
        (InATuple, "gives a tuple; cross entropy wants"),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)), r"gives outputs \[2, 4, 8, 8\]"),
        (lambda: Plain(classes=1), "model = Plain: gives one output, of which cross entropy is always 0; give loss"),
        (lambda: Plain().requires_grad_(False), "no parameter requires a gradient, .*requires_grad_"),
        (
            InPlace,
            r"model = InPlace: has no gradient for a batch of train_data \(.*inplace operation.*\); compute nothing",
        ),
    ],
)
def test_what_learning_needs_is_one_line(make, words, tmp_path):
    data = TensorDataset(torch.randn(128, 3, 8, 8), torch.arange(128) % 4)
    options = {"pruning_ratio": 0.4, "work_dir": tmp_path / "run", "round_to": 1, "quiet": True}
    refused(lambda: compress.prune(make(), X, data, **options), words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [Constants, Dropping, lambda: Plain().requires_grad_(False), InADict])
def test_what_only_looks_odd_is_pruned(make):
    network = make().train()
    network.norm.eval()  # a frozen layer stays frozen
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pruned = compress.prune(network, X, **ONE_SHOT)
    assert pruned.after["macs"] < pruned.before["macs"]
    assert pruned.after["params"] == sum(value.numel() for value in pruned.model.parameters())
    assert (network.training, network.norm.training) == (True, False)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    frozen = {value.requires_grad for value in network.parameters()}
    assert {value.requires_grad for value in pruned.model.parameters()} == frozen


def test_layers_that_share_weights_keep_their_channels_and_count_once(tmp_path):
    torch.manual_seed(0)
    network = Tied()
    found = compress.groups_of(network, X)
    assert [group.name for group in found.groups] == ["b"]
    assert found.left["s"] == "s.weight is t.weight too"
    pruned = compress.prune(network, X, **ONE_SHOT)
    counted = [sum(value.numel() for value in each.parameters()) for each in (network, pruned.model)]
    assert [pruned.before["params"], pruned.after["params"]] == counted
    loaded = compress.load(pruned.save(tmp_path / "small"), network=Tied())
    assert torch.equal(loaded(X), pruned.model(X))
    assert loaded.t.weight is loaded.s.weight


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(1, 4, 8, 8), r"example_input = \(1, 4, 8, 8\): Plain does not take it"),
        (torch.zeros(3, 8, 8), r"example_input = \(3, 8, 8\)"),
        (torch.zeros(0, 3, 8, 8), "no axis of length 0"),
        (torch.zeros(1, 3, 8, 8, device="meta"), "a tensor with values"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "does not take it"),
        (torch.zeros(1, 3, 8, 8).half(), "does not take it"),
        (None, "example_input = NoneType: must be a tensor"),
        ((), r"example_input = \(\): must be a tensor"),
    ],
)
def test_an_example_that_is_none_is_one_line(x, words, tmp_path):
    refused(lambda: compress.groups_of(Plain(), x), words)
    refused(lambda: compress.prune(Plain(), x, work_dir=tmp_path / "run", **ONE_SHOT), "^example_input = ")
    assert not (tmp_path / "run").exists()
    refused(lambda: compress.compare(Plain(), Plain(), x, repeats=1), "example_input")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a pruned Plain."""
    return compress.prune(Plain(), X, **ONE_SHOT).save(tmp_path_factory.mktemp("small"))


class Wider(Plain):
    def __init__(self):
        super().__init__()
        self.b, self.head = nn.Conv2d(8, 9, 3, padding=1), nn.Linear(9, 4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Plain, "network = the class Plain: must be an nn.Module"),
        (lambda: "net.py", "network = str: must be"),
        (lambda: Plain().half(), "network = Plain: a.weight is float16"),
        (lambda: Plain().to("meta"), "network = Plain: a.weight has no values"),
        (Locked, "network = Locked: cannot be copied"),
        (ForgetsItself, r"network = ForgetsItself: its train\(\) gives NoneType"),
        (OneLayer, "network = OneLayer: group 'a' has channels on axis 0 of 'a', .* traced on another one"),
        (Wider, "another architecture; 3 of another shape: b.weight .*; give, as network, a fresh one of the class"),
        (Auxiliary, "2 missing: aux.weight, aux.bias; give, as network"),
    ],
)
def test_another_network_is_not_loaded(make, words, small):
    refused(lambda: compress.load(small, network=make()), words)


def test_another_network_is_not_sliced():
    found = compress.groups_of(Plain(), X)
    space = LiveSpace(num_classes=4, model=GIVEN, found=found.to_json(), make=Plain)
    plan = WidthPlan("traced", sizes(space.groups), {"a": (0, 1), "b": (2,)})
    for model, words in (
        (None, "model = NoneType: must be an nn.Module"),
        (Plain().to("meta"), "with weights"),
        (Wider(), "model = Wider: is no network of this space .*size mismatch for b.weight"),
    ):
        refused(lambda model=model: compress.slice_model(model, space, plan), words)
    refused(lambda: compress.slice_model(Plain(), found, plan), "space = Groups: must be a space")
    refused(lambda: compress.slice_model(Plain(), space, None), "plan = NoneType: must be a WidthPlan")


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ((None, Plain()), "model = NoneType"),
        ((Plain(), Plain().half()), "small = Plain: a.weight is float16"),
        (
            (Plain(), nn.Sequential(nn.Conv2d(4, 2, 1))),
            "small = Sequential: does not take example_input",
        ),
        ((Plain(), Branching()), "small = Branching: .* asks for values"),
    ],
)
def test_what_cannot_be_compared_is_one_line(pair, words):
    refused(lambda: compress.compare(*pair, X, repeats=1), words)
