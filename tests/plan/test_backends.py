"""The list of backends: what is asked for is loaded, and what is wrong is one line."""

import pytest
from installed import installed

from compress.plan import UserError
from compress.plan.backends import BACKENDS, OWN


def test_every_backend_is_listed_under_its_own_name():
    found = BACKENDS.own()
    assert [each.name for each in found] == list(OWN)
    assert all(each is BACKENDS.find(each.name) for each in found)
    assert BACKENDS.find("ort") is BACKENDS.find(None) is None, "short names are of the command line"
    assert len({BACKENDS.label(name) for name in OWN}) == len(OWN)


def test_unknown_and_unfit_backends_are_told_the_choices():
    with pytest.raises(UserError) as caught:
        BACKENDS.need("x", "eager")
    assert str(caught.value) == f"x = 'eager': is unknown; choose from {', '.join(OWN)}"
    with pytest.raises(UserError, match=r"^x = 'pytorch': runs no engines; choose from tensorrt, tensorrt-rtx$"):
        BACKENDS.need("x", "pytorch", fits=lambda each: each.suffix == ".engine", lacks="runs no engines")


def test_a_package_that_is_broken_is_named_where_it_is_needed_and_not_in_reports(tmp_path):
    file = tmp_path / "broken_backend.py"
    file.write_text("import no_such_module")
    (tmp_path / "packages").mkdir()
    with installed(tmp_path / "packages", file, BACKENDS, "broken"):
        with pytest.raises(UserError, match=r"entry point compress\.backends: broken = 'broken_backend'"):
            BACKENDS.need("x", "broken")
        assert BACKENDS.label("broken") == "broken"
