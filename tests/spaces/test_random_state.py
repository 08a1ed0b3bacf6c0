"""A space draws from the global random generators in `build` alone, where initialising is what it is for."""

import pytest
import torch
from random_state import forget, state, untouched

from compress.measure.networks import timing_network
from compress.plan import WidthPlan
from compress.pruning import slice_model
from compress.spaces import SPACES, Alphas, Card, load_model, make_space, mobilenetv2, save_model, sizes, transformer

SWIN = {"patch_size": 2, "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 3], "window_size": 4}
VIT = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
ARCHS = {
    "preresnet": {"depth": 11, "num_classes": 3, "score_inputs": True},
    "mobilenetv2": {"multiplier": 0.25, "num_classes": 3},
    "swin": {"model": "swin_tiny_patch4_window7_224", "num_classes": 3, "input_size": 16, "options": SWIN},
    "vit": {"model": "deit_tiny_patch16_224", "num_classes": 3, "input_size": 16, "options": VIT},
}
SIZE = (3, 16, 16)


def card(space):
    return Card(space.name, space.arch, ("a", "b", "c"), {"input_size": list(SIZE)})


@pytest.fixture(params=ARCHS)
def name(request):
    """The name of a space, of which nothing is kept from before."""
    forget(mobilenetv2, transformer)
    return request.param


def test_every_space_of_the_library_is_here():
    # The others have tests of their own.
    assert set(ARCHS) == set(SPACES) - {
        "detector", "darts_cells", "nats_cells", "darts_supernet", "nats_supernet", "traced",
    }  # fmt: skip


def test_all_but_building_leaves_the_global_generators_alone(name, tmp_path):
    with untouched("making the space"):
        space = make_space(name, ARCHS[name])
    widths = {group.name: max(1, group.size // 2) for group in space.groups}
    parts = {
        "groups": lambda: (space.groups, space.normalised, space.classifier, space.arch),
        "empty": space.empty,
        "operators": lambda: space.operators(SIZE),
        "with_widths": lambda: space.with_widths(widths).operators(SIZE),
        "timing_network": lambda: timing_network(space, SIZE),
        "Alphas": lambda: Alphas(space.groups),
    }
    for part, ask in parts.items():
        forget(mobilenetv2, transformer)
        with untouched(part):
            ask()
    plan = WidthPlan(name, sizes(space.groups), {key: tuple(range(width)) for key, width in widths.items()})
    network = space.build()
    with untouched("slicing"):
        small, small_space = slice_model(network, space, plan)
    with untouched("saving and loading"):
        save_model(tmp_path / "model", small, card(small_space))
        forget(mobilenetv2, transformer)
        load_model(tmp_path)


def test_building_draws_from_torchs_generator_alone(name):
    space = make_space(name, ARCHS[name])
    before = state()
    torch.manual_seed(3)
    seeded = state()
    network = space.build()
    after = state()
    assert after[0] != seeded[0]
    assert after[1:] == before[1:]
    torch.manual_seed(3)
    forget(mobilenetv2, transformer)
    again = make_space(name, ARCHS[name]).build()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
