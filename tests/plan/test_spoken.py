"""Errors in the words of the one who called: flags for a command, arguments for Python."""

import pytest

from compress.plan import UserError, speaking
from compress.plan.budget_kinds import FLAGS

PYTHON = {"macs_ratio": 'budget["macs_ratio"]', "select.floor or select.round_to": "round_to", "select.floor": "floor"}
REMEDY = "lower select.floor or select.round_to"


def test_names_change_wherever_they_stand():
    error = UserError("out of reach", argument="macs_ratio", value=0.5, remedy=REMEDY)
    assert str(error.spoken(FLAGS)) == f"--macs-ratio 0.5: out of reach; {REMEDY}"
    assert str(error.spoken(PYTHON)) == 'budget["macs_ratio"] = 0.5: out of reach; lower round_to'
    both = UserError("macs_ratio = 0.5 and latency_ms = 2: cannot be kept together; raise one of them")
    assert str(both.spoken(FLAGS)) == "--macs-ratio 0.5 and --latency-ms 2: cannot be kept together; raise one of them"


def test_names_inside_of_others_and_values_stay():
    error = UserError("no macs_ratios, 'macs_ratio' or plan.macs_ratio; select.floors", argument="file")
    assert str(error.spoken({**FLAGS, **PYTHON})) == str(error)
    once = UserError("too small", argument="macs_ratio").spoken(PYTHON)
    assert str(once.spoken(PYTHON)) == str(once)


def test_places_stay_where_they_are_and_other_errors_pass():
    with pytest.raises(UserError, match=r"^recipe: --macs-ratio: too small$"), speaking(FLAGS):
        raise UserError("too small", argument="macs_ratio").at("recipe")
    with pytest.raises(ValueError, match="macs_ratio"), speaking(FLAGS):
        raise ValueError("macs_ratio")
