"""Networks of genotypes: published sizes, cards, auxiliary heads, dropped paths, and what their spaces refuse."""

import re

import pytest
import torch
from torch import nn

from compress.costs import count_macs, count_params
from compress.engine.training import Classifier
from compress.plan import Genotype, UserError
from compress.spaces import Card, load_model, make_space, save_model
from compress.topology.network import Edges
from compress.topology.published import DARTS_V1, DARTS_V2, NATS_LARGEST, PCDARTS
from compress.topology.space import DartsCellsSpace, NatsCellsSpace

CELL = "|none~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
SMALL = {"num_classes": 5, "channels": 4, "layers": 3}


def test_networks_have_the_published_sizes():
    cifar = DartsCellsSpace(num_classes=10, channels=36, layers=20)
    assert count_params(cifar.build()) == 3_349_342
    imagenet = DartsCellsSpace(1000, channels=48, layers=14, stem="imagenet")
    assert count_params(imagenet.build()) == pytest.approx(4.7e6, rel=5e-3)
    nats = NatsCellsSpace(num_classes=10, channels=16, layers=5).build()
    assert (count_params(nats), count_macs(nats, (3, 32, 32))) == (1_531_546, 220_119_680)


def test_published_genotypes_are_as_published():
    assert [DARTS_V1.share("skip_connect"), DARTS_V2.share("skip_connect")] == [6 / 16, 5 / 16]
    assert DARTS_V2.cells["normal"][3] == (("skip_connect", 0), ("dil_conv_3x3", 2))
    assert PCDARTS.cells["reduction"][2] == (("sep_conv_3x3", 0), ("sep_conv_3x3", 3))
    assert NATS_LARGEST.share("nor_conv_3x3") == 1


@pytest.mark.parametrize(
    ("layers", "stem", "pixels", "shapes"),
    [
        (3, "cifar", 32, [(16, 32), (32, 16), (64, 8)]),
        (5, "cifar", 32, [(16, 32), (32, 16), (32, 16), (64, 8), (64, 8)]),
        (4, "imagenet", 56, [(16, 7), (32, 4), (64, 2), (64, 2)]),
    ],
)
def test_reductions_stand_at_a_third_and_two_thirds(layers, stem, pixels, shapes):
    network = DartsCellsSpace(5, channels=4, layers=layers, stem=stem).build()
    found = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _module, _inputs, out: found.append((out.shape[1], out.shape[2])))
    assert network(torch.randn(2, 3, pixels, pixels)).shape == (2, 5)
    assert found == shapes


def test_a_cell_is_the_sum_of_its_edges():
    nodes = Genotype.parse("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|").cells[
        "cell"
    ]
    edges = Edges(nodes, 1, 4)
    x = torch.randn(2, 4, 8, 8)
    first, second, third = edges(x)
    assert {*edges} == {"0_1", "0_2", "1_3", "2_3"}
    assert torch.equal(second, x)
    assert torch.equal(first, edges["0_1"](x))
    assert torch.equal(third, edges["1_3"](first) + edges["2_3"](second))
    nothing = Edges(((("none", 0),), (("none", 0), ("none", 1))), 1, 4)
    assert all(torch.equal(node, torch.zeros_like(x)) for node in nothing(x))


def test_paths_are_dropped_for_whole_images_more_and_more_and_only_in_training():
    nodes = ((("nor_conv_1x1", 0),), (("skip_connect", 0), ("skip_connect", 1)))
    torch.manual_seed(0)
    edges = Edges(nodes, 1, 4)
    x = torch.randn(400, 4, 2, 2)
    whole, _ = edges(x)
    edges.drop_path = 0.25
    dropped, second = edges(x)
    gone = (dropped == 0).flatten(1).all(1)
    assert 0.15 < gone.float().mean() < 0.35
    torch.testing.assert_close(dropped[~gone], whole[~gone] / 0.75)
    assert torch.equal(second, x + dropped), "skip connections stay"
    edges.eval()
    assert torch.equal(edges(x)[0], edges(x)[0])
    network = DartsCellsSpace(**SMALL, drop_path=0.2).build()
    network.set_training_progress(0.25)
    assert {cell.edges.drop_path for cell in network.cells} == {0.05}


@pytest.mark.parametrize("layers", [3, 4])
def test_the_auxiliary_head_reads_the_second_reduction_of_a_narrow_network_too(layers):
    space = DartsCellsSpace(5, channels=4, layers=layers, auxiliary=True, score_states=True)
    plain = DartsCellsSpace(5, channels=4, layers=layers, score_states=True)
    narrow = space.with_widths({group.name: max(1, group.size // 2) for group in space.groups})
    for each in (space, narrow):
        network = each.build()
        losses = Classifier(network)(torch.randn(3, 3, 32, 32), torch.arange(3))
        assert losses.keys() == {"loss_ce", "loss_auxiliary", "train_top1"}
    assert {*space.build().state_dict()} == {*plain.build().state_dict()}
    assert plain.build().make_auxiliary() is None
    head = space.build().make_auxiliary().head
    assert sum(p.numel() for p in head.parameters()) == 64 * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 768 * 5 + 5
    message = r"space\.auxiliary = True: reads maps of at least 8 x 8 pixels, and these have 4 x 4; set it to False"
    with pytest.raises(UserError, match=message):
        Classifier(space.build())(torch.randn(3, 3, 16, 16), torch.arange(3))


def test_the_head_for_imagenet_has_no_second_norm_and_reads_7_x_7():
    space = DartsCellsSpace(5, channels=4, layers=3, stem="imagenet", auxiliary=True)
    head = space.build().make_auxiliary().head
    assert [type(module) for module in head.children() if isinstance(module, nn.BatchNorm2d | nn.Identity)] == [
        nn.BatchNorm2d,
        nn.Identity,
    ]
    assert head.eval()(torch.randn(1, 64, 7, 7)).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("darts_cells", {**SMALL, "genotype": PCDARTS.text, "auxiliary": True, "drop_path": 0.2}),
        ("nats_cells", {"num_classes": 5, "channels": 4, "layers": 1, "genotype": CELL}),
    ],
)
def test_a_card_rebuilds_the_network(name, arch, tmp_path):
    space = make_space(name, arch)
    network = space.build().eval()
    size = {"input_size": [3, 32, 32], "resize": None, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    save_model(tmp_path / "model", network, Card(name, space.arch, tuple("abcde"), size))
    again, found, _ = load_model(tmp_path)
    assert found == space
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(x), network(x))


WRONG = [
    (
        "darts_cells",
        {"genotype": NATS_LARGEST.text},
        "space.genotype: must be one of darts, and is one of nats",
    ),
    ("nats_cells", {"genotype": DARTS_V2.text}, "space.genotype: must be one of nats, and is one of darts"),
    ("darts_cells", {"genotype": "sep_conv"}, "space.genotype: 'sep_conv' must have the form"),
    ("darts_cells", {"genotype": None}, "space.genotype = None: must be the text of a genotype"),
    ("darts_cells", {"layers": 2}, "space.layers = 2: must be a whole number from 3"),
    ("darts_cells", {"channels": 1}, "space.channels = 1: must be a whole number from 2"),
    ("darts_cells", {"stem": "resnet"}, "space.stem = 'resnet': must be 'cifar' or 'imagenet'"),
    ("darts_cells", {"auxiliary": 1}, "space.auxiliary = 1: must be True or False"),
    ("darts_cells", {"drop_path": 1.0}, "space.drop_path = 1.0: must be a number from 0 to below 1"),
    ("darts_cells", {"drop_path": float("nan")}, "space.drop_path = nan: must be a number from 0 to below 1"),
    ("darts_cells", {"widths": {"cells.0.edges.0_2": 1}}, "has no such group"),
    ("nats_cells", {"widths": {"stem": 17}}, "widths['stem'] = 17: must be a whole number from 1 to 16"),
    ("nats_cells", {"layers": 0}, "space.layers = 0: must be a whole number from 1"),
    ("nats_cells", {"stem": "cifar"}, "space.stem: nats_cells has no such setting"),
]


@pytest.mark.parametrize(("name", "arch", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_impossible_spaces_are_refused_in_one_line(name, arch, message):
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        make_space(name, {"num_classes": 5, **arch})
    assert "\n" not in str(refusal.value)
