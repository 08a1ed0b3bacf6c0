"""`nncompress profile`: what it asks `build_table` for, and what it refuses. Seconds, most of them imports."""

from pathlib import Path

import pytest
from made_up_profiles import Formula
from run_tool import run_tool
from tool_runs import SIZED

import compress.measure
from compress.measure import TableConfig
from compress.measure.designs import allowed_widths, sample_designs
from compress.measure.kept import pack
from compress.measure.kit import writing
from compress.pipeline.images import CONTEXTS, ImageContext, make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import write_json
from compress.report.progress import TerminalProgress
from compress.spaces import PreResNetSpace, save_model, sizes

RECIPE = Path(__file__).resolve().parents[2] / "recipes/width/preresnet20_digits_rarts.py"


class Asked(Exception):
    """Raised in place of measuring."""


@pytest.fixture
def asked(monkeypatch):
    """What `build_table` was asked for."""
    found = {}

    def build(space, path, **settings):
        found.update(space=space, path=path, **settings)
        raise Asked

    monkeypatch.setattr(compress.measure, "build_table", build)
    return found


def ask(*arguments):
    with pytest.raises(Asked):
        run_tool("profile_latency", RECIPE, *arguments)


def refused(capsys, *arguments):
    """The one line that the tool leaves with."""
    assert run_tool("profile_latency", RECIPE, *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_the_defaults_are_those_of_the_configuration(asked, tmp_path):
    ask("-o", tmp_path / "table.json")
    assert asked["config"] == TableConfig()
    assert asked["space"].widths == {}
    assert not asked["resume"]


def test_every_option_arrives(asked, tmp_path):
    options = "--backend pytorch --threads 2 --batch 3 --designs 9 --max-designs 12 --target 0.03 --multiple 16"
    ask("-o", tmp_path / "table.json", *options.split(), "--rounds", 5, "--seed", 7, "--resume")
    assert asked["config"] == TableConfig("pytorch", 2, 3, 9, 16, 5, 7, 12, 0.03)
    assert asked["resume"]


@pytest.mark.parametrize("name", ["model", "model.json", "model.safetensors", ""])
def test_a_pruned_network_is_profiled_as_it_is(asked, tmp_path, name):
    """A folder means its model.json."""
    base = PreResNetSpace(20, 10)
    pruned = base.with_widths({"layer1.0.conv1": 9, "layer3.1.conv2": 40})
    card = checkpoint(tmp_path, pruned)
    ask("-o", tmp_path / "table.json", "--checkpoint", tmp_path / name)
    full = sizes(asked["space"].groups)
    assert full == {**sizes(base.groups), "layer1.0.conv1": 9, "layer3.1.conv2": 40}
    assert asked["input_size"] == card.input_size


def checkpoint(folder, space):
    """A network of `space` as a run on the recipe's data would save it; returns its card."""
    card = make_context(load_recipe(RECIPE), TerminalProgress(quiet=True)).card(space)
    save_model(folder / "model", space.build(), card)
    return card


def test_checkpoints_of_other_recipes_are_refused(asked, tmp_path, capsys):
    checkpoint(tmp_path, PreResNetSpace(11, 10))
    line = refused(capsys, "-o", tmp_path / "table.json", "--checkpoint", tmp_path)
    assert "another architecture (depth = 11 there, 20 in the recipe)" in line
    assert "no such file" in refused(capsys, "-o", tmp_path / "t.json", "--checkpoint", tmp_path / "none")
    assert not asked


def test_recipes_whose_networks_have_no_tables_are_refused(asked, monkeypatch, tmp_path, capsys):
    """Such as one-stage detectors."""
    monkeypatch.setitem(CONTEXTS, "preresnet", type("Own", (ImageContext,), {"untimed": "it is not exported"}))
    line = refused(capsys, "-o", tmp_path / "table.json")
    assert line.startswith(f"error: RECIPE {RECIPE}: no latency table is measured of this preresnet")
    assert not asked


def test_options_that_would_do_nothing_are_refused(asked, tmp_path, capsys):
    out = ("-o", tmp_path / "table.json")
    assert "--max-designs, --resume" in refused(capsys, *out, "--merge", "a.json", "--resume", "--max-designs", 30)
    assert "needs --max-designs" in refused(capsys, *out, "--target", 0.01)
    assert "error: --max-designs 10: must be a whole" in refused(capsys, *out, "--max-designs", 10)
    assert "error: --threads 0: must be a whole number" in refused(capsys, *out, "--threads", 0)
    assert not asked


@pytest.mark.parametrize(
    ("option", "stopped", "line"),
    [
        ("--kit", OSError(28, "No space left on device"), "No space left on device; free some space"),
        ("--merge", KeyboardInterrupt(), "stopped"),
    ],
)
def test_what_does_not_resume_does_not_say_so(asked, tmp_path, capsys, monkeypatch, option, stopped, line):
    def stop(*args, **options):
        raise stopped

    monkeypatch.setattr(writing, "write_table_kit", stop)
    monkeypatch.setattr(compress.measure, "merge_tables", stop)
    output = ["-o", tmp_path / "table.json"] if option == "--merge" else []
    assert run_tool("profile_latency", RECIPE, option, tmp_path / "made", *output) in (2, 130)
    assert capsys.readouterr().err.splitlines()[-1].endswith(line)


def test_tables_are_merged_without_measuring(asked, tmp_path, capsys):
    """Of the recipe's network; the profiles are made up."""
    space, size = PreResNetSpace(20, 10), (3, 32, 32)
    full = sizes(space.groups)
    key = compress.measure.table_key(space, size, TableConfig())
    for seed, name in enumerate("ab"):
        designs = sample_designs(allowed_widths(space.groups, 8), 8, seed=seed)
        profiles = [Formula(space=space, size=size).profile({**full, **widths}) for widths in designs]
        write_json(
            tmp_path / f"{name}.json",
            {"format": 1, "key": key, "multiple": 8, "rounds": 20, "profiles": pack(profiles)},
        )
    sources = (tmp_path / "a.json", tmp_path / "b.json")
    assert (
        run_tool("profile_latency", RECIPE, "-o", tmp_path / "both.json", "--merge", *sources, "--cfg-options", *SIZED)
        == 0
    )
    assert "90 % of 16 within" in capsys.readouterr().out
    assert (tmp_path / "both.html").is_file()
    assert not asked
