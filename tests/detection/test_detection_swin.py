"""The Swin whose blocks have widths of their own: at full widths MMDetection's, bit for bit."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("mmdet")
from mmdet.registry import MODELS

import compress.detection  # noqa: F401
from compress.detection.export.windows import gather_windows
from compress.plan import UserError

SMALL = {
    "embed_dims": 12,
    "depths": [2, 2],
    "num_heads": [1, 2],
    "strides": (4, 2),
    "out_indices": (0, 1),
    "window_size": 4,
    "drop_path_rate": 0.0,
}


def build(kind, **options):
    return MODELS.build({"type": kind, **SMALL, **options})


def pair(**options):
    """MMDetection's and ours with equal weights, at which every table and bias matters."""
    theirs, ours = (build(kind, **options) for kind in ("mmdet.SwinTransformer", "SlicedSwinTransformer"))
    torch.manual_seed(0)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


SIZES = [(32, 32), (36, 52), (35, 50), (8, 12)]


@pytest.mark.parametrize("size", SIZES)
def test_windows_that_are_gathered_are_those_that_are_cut(size):
    theirs, ours = pair()
    x = torch.randn(1, 3, *size)
    for network in (theirs, ours):
        network.eval()  # MMDetection's returns nothing
    gather_windows(ours)
    with torch.no_grad():
        for found, wanted in zip(ours(x), theirs(x), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        ours(torch.randn(1, 3, 64, 64))
        for found, wanted in zip(ours(x), theirs(x), strict=True):  # laid out again for another size
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


# Maps of 8 x 8 patches fill windows of 4; those of 9 x 13, then 5 x 7, and of 2 x 3 are padded.
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "options",
    [{}, {"qkv_bias": False}, {"qk_scale": 0.3}, {"out_indices": (1,), "patch_norm": False}, {"frozen_stages": 1}],
    ids=str,
)
@torch.no_grad()
def test_full_widths_are_mmdetections_network(size, options):
    theirs, ours = pair(**options)
    images = torch.randn(2, 3, *size)
    for training in (False, True):
        for network in (theirs, ours):
            network.train(training)
        found, expected = ours(images), theirs(images)
        assert len(found) == len(expected) == len(ours.out_indices)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_gradients_and_dropped_paths_are_mmdetections():
    networks = pair(drop_path_rate=0.5, attn_drop_rate=0.2, drop_rate=0.1)
    images = torch.randn(2, 3, 36, 52)
    for network in networks:
        network.train()
        torch.manual_seed(1)
        sum(level.square().mean() for level in network(images)).backward()
    for (name, a), b in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


def test_blocks_that_are_computed_again_have_the_same_gradients():
    """As searches take them: MMDetection's own way refuses torch.autograd.grad."""
    kept, again = build("SlicedSwinTransformer"), build("SlicedSwinTransformer", with_cp=True)
    again.load_state_dict(kept.state_dict())
    images = torch.randn(1, 3, 40, 56)
    found = []
    for network in (kept, again):
        loss = sum(level.square().mean() for level in network(images))
        found.append(torch.autograd.grad(loss, list(network.parameters())))
    assert all(map(torch.equal, *found))


def test_state_dicts_go_both_ways():
    theirs, ours = pair()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)


def test_frozen_stages_train_nothing_in_them():
    ours = build("SlicedSwinTransformer", frozen_stages=1, mlp_dims=[[10, 48], [96, 20]])
    ours.train()
    frozen = {name for name, parameter in ours.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        name for name, _ in ours.named_parameters() if name.startswith(("patch_embed", "stages.0.", "norm0"))
    }
    assert not ours.stages[0].training
    assert ours.stages[1].training


def test_widths_are_those_that_are_given():
    ours = build("SlicedSwinTransformer", head_dims=[[5, 12], [1, 7]], mlp_dims=[[48, 3], [96, 1]])
    blocks = [block for stage in ours.stages for block in stage.blocks]
    assert [block.attn.w_msa.qkv.out_features for block in blocks] == [15, 36, 6, 42]
    assert [block.attn.w_msa.proj.in_features for block in blocks] == [5, 12, 2, 14]
    assert [block.ffn.layers[1].in_features for block in blocks] == [48, 3, 96, 1]
    assert [block.attn.w_msa.scale for block in blocks] == pytest.approx([5**-0.5, 12**-0.5, 1, 7**-0.5])
    assert [tuple(level.shape) for level in ours(torch.zeros(1, 3, 36, 52))] == [(1, 12, 9, 13), (1, 24, 5, 7)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"head_dims": [[12, 12]]}, r"backbone\.head_dims = .*one list per stage with \[2, 2\] widths"),
        ({"mlp_dims": [[48], [96, 96]]}, r"backbone\.mlp_dims = .*one list per stage with \[2, 2\] widths"),
        ({"head_dims": [[12, 13], [12, 12]]}, r"width 13 for stages\.0\.blocks\.1\.attn.*1 to 12"),
        ({"head_dims": [[12, 0], [12, 12]]}, r"width 0 .*1 to 12"),
        ({"mlp_dims": [[48, 48], [96, 1.5]]}, r"width 1\.5 for stages\.1\.blocks\.1\.ffn.*whole number, 1 to 96"),
        ({"mlp_dims": [[48, 48], [96, "9"]]}, r"width '9' .*whole number"),
        ({"mlp_dims": 4}, r"backbone\.mlp_dims = 4.*one list per stage"),
        ({"head_dims": [12, 12]}, r"backbone\.head_dims = \[12, 12\].*one list per stage"),
        ({"head_dims": [[12, True], [12, 12]]}, r"width True .*whole number"),
    ],
)
def test_bad_widths_are_refused(options, says):
    with pytest.raises(UserError, match=says) as caught:
        build("SlicedSwinTransformer", **options)
    assert "\n" not in str(caught.value)


class Written(TorchDispatchMode):
    """Names of the operators that write into a tensor's elements."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("fill_", "copy_", "index_put_"):
            self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def test_no_slice_is_assigned_to():
    """MMDetection assigns numbers to the regions of a map, which ONNX exports as ScatterND."""
    names = []
    for network in pair():
        network.eval()
        with Written() as written:
            network(torch.zeros(1, 3, 36, 52))
        names.append(written.names)
    assert len(names[0]) == 2 * 9  # nine regions, two blocks that shift
    assert not names[1]
