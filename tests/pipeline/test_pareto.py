"""Which networks others beat, and which one a goal picks: by definition, on seeded cases with ties."""

from __future__ import annotations

import random

import pytest

from compress.pipeline.pareto import Goal, beaten_by, picked
from compress.plan import UserError


def networks(seed: int) -> dict[str, tuple[float, float]]:
    rng = random.Random(seed)
    return {f"n{i}": (float(rng.randint(1, 6)), float(rng.randint(1, 6))) for i in range(rng.randint(1, 9))}


@pytest.mark.parametrize("seed", range(40))
def test_beaten_is_who_costs_no_less_and_is_no_better_than_another(seed: int) -> None:
    found = networks(seed)
    names = list(found)
    beaten = beaten_by(found)
    assert list(beaten) == names
    for name, (cost, accuracy) in found.items():
        others = [
            other
            for other, (c, a) in found.items()
            if c <= cost and a >= accuracy and ((c, a) != (cost, accuracy) or names.index(other) < names.index(name))
        ]
        assert (beaten[name] is None) == (not others)
        assert beaten[name] is None or beaten[name] in others
        assert beaten[name] is None or beaten[beaten[name]] is None, "who beats, is on the front"


@pytest.mark.parametrize("seed", range(20))
def test_picked_is_the_cheapest_that_keeps_it(seed: int) -> None:
    found = networks(seed)
    for least in range(8):
        keeping = {name: pair for name, pair in found.items() if pair[1] >= least}
        name = picked(found, least)
        assert (name is None) == (not keeping)
        if name is not None:
            assert found[name] == min(keeping.values(), key=lambda pair: (pair[0], -pair[1]))


def test_a_drop_is_kept_whatever_the_digits_of_the_difference() -> None:
    assert Goal("max_drop", 1).least(94.2) == pytest.approx(93.2)
    assert 94.2 - 1.1 > 93.1, "so a plain comparison would miss it"
    assert picked({"a": (1.0, 93.1)}, Goal("max_drop", 1.1).least(94.2)) == "a"
    assert Goal("target_accuracy", 94).least(10.0) == 94
    assert Goal.from_json(Goal("max_drop", 0).to_json()) == Goal("max_drop", 0)
    assert Goal.from_json(None) is None


@pytest.mark.parametrize(("kind", "value"), [("max_drop", -0.1), ("target_accuracy", 100.5), ("max_drop", 101.0)])
def test_goals_out_of_range_are_refused(kind: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"^{kind} = .* at most 100; it is "):
        Goal(kind, value)
