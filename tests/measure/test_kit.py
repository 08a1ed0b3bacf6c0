"""Kits: written here, and read here again when a device has measured them. One export; some seconds."""

import json
from pathlib import Path

import numpy as np
import pytest
from exported_spaces import made
from kits import CONFIG, FULL, SIZE, SPACE, made_up_times
from run_tool import run_tool

from compress.costs import LatencyTable, macs
from compress.measure.designs import allowed_widths, sample_designs
from compress.measure.kit import writing
from compress.measure.kit.reading import read_measured, table_of_kit
from compress.measure.kit.writing import write_kit, write_table_kit
from compress.plan import UserError
from compress.spaces import PreResNetSpace, blocks_of, members_of, sizes

RECIPE = Path(__file__).resolve().parents[2] / "recipes/width/preresnet20_digits_rarts.py"


def by_macs(widths):
    """Some constant time, and the rest as MACs have it."""
    operators = SPACE.operators(SIZE)
    return 0.2 + 0.8 * macs(operators, {**FULL, **widths}) / macs(operators, FULL)


def test_a_kit_is_little_larger_than_its_largest_network(whole):
    files = {path.name: path.stat().st_size for path in (whole / "networks").iterdir()}
    weights = files.pop("weights.bin")
    largest = sum(tensor.nbytes for tensor in made("preresnet")[3].tensors.values())
    assert weights < 1.5 * largest
    assert len(files) == 9
    assert max(files.values()) < largest / 5


def test_its_networks_are_those_that_a_table_measures_first(whole):
    manifest = json.loads((whole / "manifest.json").read_text())
    wanted = sample_designs(allowed_widths(SPACE.groups, 4), 8, seed=3)
    assert [network["widths"] for network in manifest["networks"]] == wanted
    import onnxruntime as ort

    session = ort.InferenceSession(str(whole / "networks" / "n003.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [2, *SIZE]
    (given,) = session.run(None, {session.get_inputs()[0].name: np.ones((2, *SIZE), np.float32)})
    assert given.shape == (2, 5)
    assert np.isfinite(given).all()


def test_the_tool_writes_and_reads_kits(tmp_path, capsys):
    folder = tmp_path / "own"
    assert run_tool("profile_latency", RECIPE, "--kit", folder, "--designs", 8, "--cfg-options", "space.depth=11") == 0
    assert "measure_kit.py" in capsys.readouterr().out
    made_up_times(folder, lambda widths: sum(widths.values()) / 500)
    table = tmp_path / "table.json"
    options = ("--cfg-options", "space.depth=11")
    assert run_tool("profile_latency", RECIPE, "--from", folder / "measured.json", "-o", table, *options) == 0
    assert "whole calls alone" in capsys.readouterr().out
    assert LatencyTable.load(table).key["device"] == "a GPU"
    assert table.with_suffix(".html").exists()
    for arguments, says in (
        (("--from", folder / "measured.json", "-o", tmp_path / "b.json"), "manifest.json: latency table: arch.depth"),
        (("--from", folder, "-o", tmp_path / "b.json"), "own: is a folder; give the measured.json that"),
        (("--from", folder / "measured.json", "-o", folder / "manifest.json"), "is read by this command too"),
        (("--kit", folder), "own: is not empty"),
        (("--kit", tmp_path / "new", "--threads", 2, "-o", "t.json"), "--threads, --output would do nothing"),
        (("--kit", tmp_path / "new", "--from", "m.json", "-o", "t.json"), "--kit and --from: are two things"),
        ((), "--output: missing"),
    ):
        assert run_tool("profile_latency", RECIPE, *arguments) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert says in line
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "b.json").exists()


def test_times_of_another_kit_or_network_are_refused(kit, tmp_path):
    value = made_up_times(kit, by_macs)
    table = table_of_kit(SPACE, tmp_path / "table.json", kit / "measured.json", input_size=SIZE)
    assert (table.key["device"], table.key["backend"], table.key["provider"]) == ("a GPU", "tensorrt", "trtexec")
    assert table.predict(SPACE.operators(SIZE), FULL).ratio == pytest.approx(1, abs=0.05)

    def refused(says, *, space=SPACE, size=SIZE, **changes):
        (kit / "measured.json").write_text(json.dumps({**value, **changes}))
        with pytest.raises(UserError, match=says) as error:
            table_of_kit(space, tmp_path / "no.json", kit / "measured.json", input_size=size)
        assert "\n" not in str(error.value)

    refused(r"measured\.json: is of another kit than .*manifest\.json", kit="0" * 64)
    refused(r"manifest\.json: latency table: arch\.num_classes = 5 there, 6 here", space=PreResNetSpace(11, 6))
    refused(r"manifest\.json: latency table: input_size", size=(3, 32, 32))
    refused(
        r"measured\.json: has times of 7 of the 8 networks of its manifest\.json",
        times={name: value["times"][name] for name in [*value["times"]][1:]},
    )
    one = {**value["times"]["n000"], "unpruned": [10.0, 10.0, 10.0, 0.0]}
    slow = {**value["times"]["n000"], "network": [1e6] * 4}
    refused("times.n000 takes 1e.05 of the unpruned", times={**value["times"], "n000": slow})
    refused(r"times\.n000\.unpruned\.3 = 0\.0", times={**value["times"], "n000": one})
    refused(r"times\.\.\./evil", times={**value["times"], "../evil": one})
    refused(r"format = 2: this version reads format 1", format=2)
    assert not (tmp_path / "no.json").exists()
    (kit / "manifest.json").unlink()
    refused(r"manifest\.json: no such file; put measured\.json beside the kit's manifest\.json")


def test_blocks_are_gone_from_some_networks_of_a_kit(kit, tmp_path, monkeypatch):
    space = PreResNetSpace(20, 5)
    removable = {name for block in members_of(blocks_of(space.groups)) for name in block}
    designs = []
    monkeypatch.setattr(writing, "write_kit", lambda *args, **options: designs.extend(args[3]))
    write_table_kit(space, tmp_path / "new", input_size=SIZE, config=CONFIG)
    assert {name for design in designs for name, width in design.items() if not width} <= removable
    assert any(0 in design.values() for design in designs)
    manifest = json.loads((kit / "manifest.json").read_text())
    names = [network["name"] for network in manifest["networks"]]
    manifest["sizes"] = sizes(space.groups)
    manifest["key"]["arch"] = space.arch

    def table(designs):
        manifest["networks"] = [{"name": n, "widths": w} for n, w in zip(names, designs, strict=True)]
        (kit / "manifest.json").write_text(json.dumps(manifest))
        made_up_times(kit, lambda widths: 0.1 + sum(widths.values()) / 500)
        return table_of_kit(space, tmp_path / "table.json", kit / "measured.json", input_size=SIZE)

    block = next(name for name in sorted(removable))
    assert 0 in table(designs).widths[block]
    kept = next(name for name in sizes(space.groups) if name not in removable)
    with pytest.raises(UserError, match=f"width 0 of {kept} is no multiple of 4"):
        table([{**design, kept: 0} for design in designs])


def test_a_kit_of_plans_makes_no_table(kit, tmp_path):
    manifest = json.loads((kit / "manifest.json").read_text())
    (kit / "manifest.json").write_text(json.dumps({**manifest, "kind": "plans"}))
    made_up_times(kit, by_macs)
    with pytest.raises(UserError, match="is of plans to choose from"):
        table_of_kit(SPACE, tmp_path / "no.json", kit / "measured.json", input_size=SIZE)
    found = read_measured(kit / "measured.json", SPACE, SIZE)
    designs = [network["widths"] for network in manifest["networks"]]
    assert found.ratios(designs) == pytest.approx([by_macs(design) for design in designs])
    with pytest.raises(UserError, match="is of other networks than those to choose from"):
        found.ratios(designs[::-1])


def test_a_kit_cannot_take_the_place_of_where_one_is(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "timing_network", lambda space, size: pytest.fail("begun"))
    monkeypatch.chdir(tmp_path)
    for folder in (".", tmp_path):
        with pytest.raises(UserError, match="is a mount point, or where you are; give a new folder in it"):
            write_kit(SPACE, folder, "plans", [{}], input_size=SIZE, config=CONFIG)


def test_a_kit_is_whole_or_not_there(tmp_path, monkeypatch):
    _, _, model, graphs = made("preresnet")
    monkeypatch.setattr(writing, "timing_network", lambda space, size: model)
    monkeypatch.setattr(writing, "WidthGraphs", lambda *args, **options: graphs)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "kit_script", full)
    (tmp_path / ".kit.tmp999999999" / "networks").mkdir(parents=True)  # of a process that was killed
    with pytest.raises(UserError, match=r"kit: .*No space left"):
        write_kit(SPACE, tmp_path / "kit", "plans", [{}], input_size=SIZE, config=CONFIG)
    assert list(tmp_path.iterdir()) == []
