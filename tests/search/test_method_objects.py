"""What a method says of itself, and what is made of it: penalties, exact zeros, records."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from compress.engine.settings import SearchConfig, make_method, method_of, penalty_of
from compress.penalties import PENALTIES
from compress.search import DEFAULT, METHODS, Gates, Method, joint_step

ROOT = Path(__file__).resolve().parents[2]
EVERY = pytest.mark.parametrize("name", list(METHODS))
GATED = {"rarts", "darts1", "darts2", "milenas1", "joint"}


def config(name, **changes):
    return SearchConfig(**{"epochs": 1, "method": {"type": name}, **changes})


def test_there_are_thirteen_and_the_default_is_one():
    assert set(METHODS) == GATED | {
        "tas", "netslim", "rvsm", "grouplasso", "random", "magnitude", "taylor", "wdpruning",
    }  # fmt: skip
    assert config(DEFAULT).method == SearchConfig(epochs=1).method
    assert {name for name, method in METHODS.items() if method.source is Gates} == GATED


@EVERY
def test_a_run_records_every_setting_defaults_included(name):
    found = config(name).method
    method = METHODS[name]
    assert found.keys() == {"type", *(spec.name for spec in fields(method.settings))}
    assert found == {"type": name, **vars(method.settings())}
    again = SearchConfig(epochs=1, method=found)
    assert make_method(again) == make_method(config(name))
    assert again.method == found


@EVERY
@pytest.mark.parametrize("penalty", ["subgradient", "proximal"])
def test_the_penalty_that_acts_is_the_one_recorded(name, penalty):
    settings = config(name, penalty=penalty)
    acting = method_of(settings).penalised_by(make_method(settings), penalty_of(settings))
    expected = {"rvsm": "l1", **dict.fromkeys(("tas", "random", "magnitude", "taylor", "wdpruning"))}
    assert acting == expected.get(name, penalty)


@pytest.mark.parametrize("own", ["l0", "l1", "group"])
def test_rvsm_records_its_own_penalty(own):
    settings = SearchConfig(epochs=1, method={"type": "rvsm", "penalty": own})
    assert METHODS["rvsm"].penalised_by(make_method(settings), penalty_of(settings)) == own


@EVERY
def test_scores_become_zero_by_a_proximal_step_of_some_weight_alone(name):
    method = METHODS[name]
    proximal = method.makes_zeros(PENALTIES["proximal"], 1e-4)
    assert proximal == (name in GATED | {"netslim", "grouplasso", "rvsm"})
    assert method.makes_zeros(PENALTIES["subgradient"], 1e-4) == (name == "rvsm")
    assert not method.makes_zeros(PENALTIES["proximal"], 0.0)


@EVERY
def test_latency_counts_gates_alone(name):
    assert METHODS[name].takes(PENALTIES["latency"]) == (name in GATED)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"step": joint_step},
        {"step": joint_step, "networks": 1},
        {"step": joint_step, "source": Gates},
        {"step": joint_step, "source": Gates, "networks": 3},
        {"score": lambda s: {}, "networks": 1},
        {"score": lambda s: {}, "step": joint_step, "networks": 1, "source": Gates},
    ],
    ids=lambda parts: "-".join(map(str, parts)) + (str(parts["networks"]) if "networks" in parts else "") or "nothing",
)
def test_a_method_that_is_neither_search_nor_score_is_refused(parts):
    with pytest.raises(ValueError, match="method 'odd': has either a step"):
        Method("odd", METHODS["joint"].settings, **parts)


def test_no_other_room_knows_a_method_by_name_or_class():
    classes = {method.settings.__name__ for method in METHODS.values()}
    for file in sorted((ROOT / "compress").rglob("*.py")):
        if file.parent.name == "search":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant):
                assert node.value not in METHODS, f"{file}:{node.lineno}"
            if isinstance(node, ast.Name):
                assert node.id not in classes, f"{file}:{node.lineno}"
