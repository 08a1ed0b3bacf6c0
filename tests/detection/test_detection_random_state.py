"""A detector's space draws from the global random generators in `build` alone."""

import pytest
import torch
from random_state import forget, untouched
from whole_detectors import model_section

pytest.importorskip("mmdet")
from compress.detection import DetectorSpace
from compress.detection import space as space_module
from compress.plan import WidthPlan
from compress.pruning import slice_model
from compress.spaces import Card, load_model, make_space, save_model, sizes

SIZE = (3, 64, 64)


def test_all_but_building_leaves_the_global_generators_alone(config, tmp_path):
    arch = {"num_classes": 80, "model": model_section(config.model.to_dict())}
    forget(space_module)
    with untouched("making the space"):
        space = make_space("detector", arch)
    widths = {group.name: max(1, group.size // 2) for group in space.groups}
    for part, ask in {
        "groups": lambda: (space.groups, space.arch, space.config()),
        "empty": space.empty,
        "operators": lambda: space.operators(SIZE),
        "with_widths": lambda: space.with_widths(widths).operators(SIZE),
    }.items():
        forget(space_module)
        with untouched(part):
            ask()
    plan = WidthPlan("detector", sizes(space.groups), {key: tuple(range(width)) for key, width in widths.items()})
    network = space.build()
    with untouched("slicing, saving and loading"):
        small, small_space = slice_model(network, space, plan)
        how = {"input_size": list(SIZE)}
        save_model(tmp_path / "model", small, Card("detector", small_space.arch, ("a",) * 80, how))
        forget(space_module)
        load_model(tmp_path)


def test_a_seed_gives_one_network_whatever_was_made_before(config):
    arch = {"num_classes": 80, "model": model_section(config.model.to_dict())}
    found = []
    for cold in (True, False):
        if cold:
            forget(space_module)
        torch.manual_seed(0)
        found.append(DetectorSpace(**arch).build().state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
