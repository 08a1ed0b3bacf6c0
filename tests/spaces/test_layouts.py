"""Where the channels of groups stand: by the definition, entry by entry."""

import random

import pytest
import torch
from torch import nn

from compress.spaces import Group, Layout, Rest, Slice, Sum, bare_parameters, columns, narrow, rows, width_at
from compress.spaces.axes import resized, segments, spread
from compress.spaces.operators import axis_width


def owners(groups, module, axis, n):
    """Whose channel every entry of an axis is: (group, channel), None where it is nobody's."""
    found = [None] * n
    for group in groups:
        for piece in group.slices:
            if (piece.module, piece.axis) == (module, axis):
                layout = piece.layout
                for copy in range(layout.copies):
                    for channel in range(group.size):
                        for j in range(layout.inner):
                            step = group.size * layout.inner if layout.stride is None else layout.stride
                            entry = layout.offset + copy * step + channel * layout.inner + j
                            assert found[entry] is None
                            found[entry] = (group.name, channel)
    return found


def shared_axis(seed):
    """Random groups side by side on one axis, with gaps, some of them interleaved; and how long the axis is."""
    draw = random.Random(seed)
    groups, at = [], 0
    for i in range(draw.randint(1, 4)):
        at += draw.choice((0, 0, 3))
        size, inner, copies = draw.randint(1, 5), draw.choice((1, 1, 2)), draw.choice((1, 1, 3))
        if draw.random() < 0.4:  # two groups that take turns
            stride = 2 * size * inner
            layouts = [Layout(at + k * size * inner, copies, stride, inner) for k in (0, 1)]
        else:
            layouts = [Layout(at, copies, None, inner)]
        for k, layout in enumerate(layouts):
            groups.append(Group(f"g{i}{k}", size, rows("layer", layout=layout), ()))
        at += len(layouts) * size * inner * copies
    return groups, at + draw.choice((0, 2))


@pytest.mark.parametrize("seed", range(40))
def test_positions_scores_widths_and_sliced_layouts_follow_the_definition(seed):
    groups, n = shared_axis(seed)
    whole = owners(groups, "layer", 0, n)
    for group in groups:
        positions = group.writes[0].layout.positions(range(group.size), group.size)
        assert {whole[entry] for entry in positions.tolist()} == {(group.name, i) for i in range(group.size)}
        assert len(positions) == sum(owner is not None and owner[0] == group.name for owner in whole)
    scores = {group.name: torch.randn(group.size) for group in groups}
    found = spread(segments((group, group.writes[0]) for group in groups), n, scores)
    assert found.tolist() == [1.0 if owner is None else float(scores[owner[0]][owner[1]]) for owner in whole]
    width, factor = axis_width([(group, group.writes[0]) for group in groups], n)
    draw = random.Random(seed)
    widths = {group.name: draw.randint(1, group.size) for group in groups}
    left = [owner for owner in whole if owner is None or owner[1] < widths[owner[0]]]
    assert factor * width_at(width, widths) == len(left)
    assert owners(resized(groups, widths), "layer", 0, len(left)) == left


def test_groups_that_claim_the_same_entries_are_refused():
    groups = [Group("a", 4, rows("layer"), ()), Group("b", 4, rows("layer", layout=Layout(offset=3)), ())]
    with pytest.raises(ValueError, match="'a' and 'b' both have entry 3"):
        segments((group, group.writes[0]) for group in groups)
    with pytest.raises(ValueError, match="more channels than the 7 entries"):
        axis_width([(group, group.writes[0]) for group in groups], 7)


def test_widths_that_names_suffice_for_are_names():
    (group,) = (Group("a", 4, rows("layer", layout=Layout(inner=3)), ()),)
    assert axis_width([(group, group.writes[0])], 12) == ("a", 3)
    assert axis_width([(group, group.writes[0])], 14) == (Sum((("a", 3),), 2), 1)
    assert axis_width([], 14) == (14, 1)


def test_a_convolution_keeps_whole_groups_or_as_much_of_each():
    def narrowed(layout, size, width):
        net = nn.ModuleDict({"conv": nn.Conv2d(6, 12, 3, groups=3)})
        narrow(net, [Group("g", size, rows("conv", layout=layout), ())], {"g": width})
        conv = net["conv"]
        assert conv(torch.randn(1, conv.in_channels, 5, 5)).shape[1] == conv.out_channels
        return conv.groups, conv.in_channels, conv.out_channels

    assert narrowed(Layout(inner=4), 3, 2) == (2, 4, 8)
    assert narrowed(Layout(copies=3), 4, 2) == (3, 6, 6)
    with pytest.raises(ValueError, match="layer of 3 groups would have groups of"):
        narrowed(Layout(), 12, 7)


def test_a_layer_of_another_kind_is_not_narrowed():
    net = nn.ModuleDict({"norm": nn.LayerNorm(4)})
    with pytest.raises(TypeError, match="norm: axis 0 of a LayerNorm cannot be narrowed"):
        narrow(net, [Group("g", 4, rows("norm"), columns("norm"))], {"g": 2})


def test_a_part_of_a_larger_network_has_its_names_behind_the_parts():
    rest = Rest("block", ("block",), ("block.bn",), "block.bias")
    alone = Group("g", 4, rows("a"), (*columns("b"), Slice("", 1, parameter="gain")), index="b.index", rest=rest)
    inside = alone.with_prefix("backbone")
    assert [piece.module for piece in inside.slices] == ["backbone.a", "backbone.b", "backbone"]
    assert (inside.name, inside.index) == ("backbone.g", "backbone.b.index")
    assert inside.rest == Rest("backbone.block", ("backbone.block",), ("backbone.block.bn",), "backbone.block.bias")


def test_a_bare_parameter_has_a_side_for_each_axis_that_groups_are_on():
    net = nn.Module()
    net.table = nn.Parameter(torch.zeros(5, 2, 4))
    pairs = Slice("", 2, Layout(inner=2), parameter="table")
    a = Group("a", 2, (pairs,), ())
    b, c = (Group(name, n, (Slice("", axis, parameter="table"),), ()) for name, n, axis in (("b", 5, 0), ("c", 2, 1)))
    (op,) = bare_parameters(net, [])
    assert (op.n_in, op.n_out, op.weights) == (1, 1, 40)
    (op,) = bare_parameters(net, [a, b])
    assert (op.n_out, op.n_in, op.weights) == ("b", "a", 4)
    with pytest.raises(ValueError, match="table: groups have slices on 3 axes"):
        bare_parameters(net, [a, b, c])
