"""Lists of named things: what is added, what an installed package brings, and packages that are broken."""

from __future__ import annotations

from collections import namedtuple

import pytest
from installed import installed

from compress.plan import Registry, UserError

Thing = namedtuple("Thing", "name")
GROUP = "compress.things"


@pytest.fixture
def registry():
    made = Registry(GROUP)
    made.add(Thing("first"))
    return made


def module(folder, text, name="brought_thing"):
    file = folder / f"{name}.py"
    file.write_text(text)
    (folder / "site").mkdir()
    return folder / "site", file


def test_things_are_found_by_name_in_the_order_they_were_added(registry):
    second = registry.add(Thing("another"))
    assert registry.named("another", "things.type") is second
    assert registry.names() == ["first", "another"]
    with pytest.raises(ValueError, match="'first' is there already"):
        registry.add(Thing("first"))


@pytest.mark.parametrize("name", ["firs", "", None, 3, ["first"], "first\n" * 100])
def test_what_is_not_there_is_refused_in_one_line(registry, name):
    assert registry.find(name) is None
    with pytest.raises(UserError, match=r"things\.type = .*: must be one of 'first'; choose one") as refused:
        registry.named(name, "things.type")
    assert "\n" not in str(refused.value)


def test_an_installed_package_brings_one_when_it_is_asked_for(registry, tmp_path, monkeypatch):
    folder, file = module(tmp_path, "import builtins\nbuiltins.registry.add(builtins.Thing('brought'))\n")
    monkeypatch.setattr("builtins.registry", registry, raising=False)
    monkeypatch.setattr("builtins.Thing", Thing, raising=False)
    with installed(folder, file, registry, "brought"):
        assert registry.names() == ["first", "brought"]
        assert "brought" not in registry, "nothing is loaded for a list of names"
        assert registry.find("brought") == Thing("brought")
        assert registry.find("brought") is registry["brought"]
    assert registry.find("brought") is None


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("import no_such_module_at_all", None, r"cannot be loaded \(No module named 'no_such_module_at_all'\)"),
        ("", "brought_thing:missing", r"cannot be loaded \(.*missing"),
        ("", None, "adds nothing of that name"),
    ],
)
def test_a_broken_package_is_named(registry, tmp_path, text, value, message):
    folder, file = module(tmp_path, text)
    with (
        installed(folder, file, registry, "brought", value=value),
        pytest.raises(UserError, match=rf"entry point compress\.things: brought = 'brought_thing.*' {message}"),
    ):
        registry.named("brought", "things.type")
