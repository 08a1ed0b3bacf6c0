"""Networks of genotypes: gated equals folded, masked equals sliced, and formulas equal counts."""

import pytest
import torch
from exact import check_folding, relative

from compress.costs import count_macs, count_params, macs, params
from compress.plan import CELL_SPACES, Genotype
from compress.pruning import slice_model
from compress.search.tas import Tas, WidthChoices
from compress.spaces import norm_scales, sizes
from compress.topology.published import DARTS_V1, DARTS_V2, NATS_LARGEST, PCDARTS
from compress.topology.space import DartsCellsSpace, NatsCellsSpace

SIZE = (3, 16, 16)


def drawn(name, seed):
    """A genotype of the space `name`, every operation equally likely."""
    generator = torch.Generator().manual_seed(seed)
    space = CELL_SPACES[name]
    cells = {}
    for cell in space.cells:
        nodes = []
        for number in space.node_numbers:
            kept = torch.randperm(number, generator=generator)[: space.kept or number].sort().values.tolist()
            picks = torch.randint(len(space.choices), (len(kept),), generator=generator).tolist()
            nodes.append(tuple((space.choices[i], source) for i, source in zip(picks, kept, strict=True)))
        cells[cell] = tuple(nodes)
    return Genotype(name, cells)


def darts(genotype, **more):
    return DartsCellsSpace(5, genotype.text, channels=4, layers=3, **more)


CASES = {
    **{f"darts-{seed}": darts(drawn("darts", seed), score_states=True) for seed in range(3)},
    "darts-inner": darts(PCDARTS),
    "darts-v2": darts(DARTS_V2, score_states=True),
    "darts-imagenet": DartsCellsSpace(5, DARTS_V1.text, channels=5, layers=4, stem="imagenet", score_states=True),
    **{f"nats-{seed}": NatsCellsSpace(5, drawn("nats", seed).text, channels=4, layers=2) for seed in range(3)},
    "nats-largest": NatsCellsSpace(5, NATS_LARGEST.text, channels=4, layers=1),
    "nats-empty": NatsCellsSpace(5, "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", channels=4, layers=1),
}
cases = pytest.mark.parametrize("space", CASES.values(), ids=CASES.keys())


@pytest.fixture
def images():
    return torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@cases
@torch.no_grad()
def test_masked_equals_sliced_and_folded_equals_gated(space, randomised, random_plan, images):
    for seed, kind in enumerate(("one", "mixed")):
        check_folding(randomised(space, seed).double(), space, random_plan(space, kind, seed), images)


@cases
@torch.no_grad()
def test_formulas_equal_counts_and_slicing_twice_slicing_once(space, randomised, random_plan, images):
    model, plan = randomised(space, 1).double(), random_plan(space, "random", 1)
    operators = space.operators(SIZE)
    assert params(operators, sizes(space.groups)) == count_params(model)
    small, small_space = slice_model(model, space, plan)
    for found, widths in ((operators, plan.widths), (small_space.operators(SIZE), sizes(small_space.groups))):
        assert params(found, widths) == count_params(small)
        assert macs(found, widths) == count_macs(small.float(), SIZE)
    small.double()
    second = random_plan(small_space, "random", 7)
    again, _ = slice_model(small, small_space, second)
    kept = {name: tuple(plan.kept[name][i] for i in second.kept[name]) for name in plan.kept}
    once, _ = slice_model(model, space, type(plan)(space.name, plan.sizes, kept))
    assert relative(again(images), once(images)) <= 1e-12


def test_every_channel_that_could_go_is_in_a_group():
    """With one channel of every group left, no convolution reads or makes more than its concatenation has parts."""
    space = darts(drawn("darts", 2), score_states=True)
    small = space.with_widths({group.name: 1 for group in space.groups}).build()
    widest = max(module.in_channels for module in small.modules() if isinstance(module, torch.nn.Conv2d))
    assert widest <= 8  # four nodes, each of two halves at most


def test_scores_of_norms_and_choices_of_widths_work_inside_of_separable_convolutions():
    space = darts(PCDARTS)
    assert norm_scales(space.build(), space.groups).keys() == sizes(space.groups).keys()
    WidthChoices(space.groups, Tas()).attach(space.build())
