"""measure_kit.py on a device: without PyTorch, on old Pythons, with engines that fail, and where files are damaged."""

import ast
import builtins
import collections.abc
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kits import SIZE, SPACE, made_up_times

from compress.costs import LatencyTable
from compress.measure.kit.ondevice import main as device
from compress.measure.kit.ondevice import nvidia
from compress.measure.kit.ondevice.engines import Engine
from compress.measure.kit.reading import read_measured, table_of_kit
from compress.measure.kit.script import kit_script
from compress.plan.table_file import TOTALS
from compress.spaces import sizes

QUICK = ("--engine", "onnxruntime", "--rounds", "4", "--warmup", "0.01")

BLOCKED = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "compress", "onnx", "scipy", "pydantic", "mmengine"):
            raise ImportError(f"{name} is not on this device")

sys.meta_path.insert(0, Refuse())
"""


def run(kit, *arguments, folder):
    """measure_kit.py in a process that has onnxruntime and numpy, and no PyTorch."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BLOCKED)
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(kit / "measure_kit.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


def test_the_manifest_is_read_once(kit, monkeypatch):
    """What is measured is what the hash is of, though the file changes meanwhile."""
    content, looks, read = (kit / "manifest.json").read_bytes(), [], Path.read_bytes

    def changing(path):
        found = read(path)
        if path.name == "manifest.json":
            looks.append(path)
            path.write_bytes(content + b" ")
        return found

    monkeypatch.setattr(Path, "read_bytes", changing)
    manifest, digest = device.read_manifest(kit)
    assert (manifest, digest) == (json.loads(content), hashlib.sha256(content).hexdigest())
    assert len(looks) == 1
    (kit / "manifest.json").write_bytes(content)


def test_the_script_needs_no_pytorch_and_goes_on_where_it_stopped(kit, tmp_path):
    done = run(kit, *QUICK, folder=tmp_path / "device")
    assert (done.returncode, done.stderr) == (0, "")
    assert "network 8 of 8: " in done.stdout
    first = json.loads((kit / "measured.json").read_text())
    assert (first["backend"], first["provider"]) == ("onnxruntime", "CPUExecutionProvider")
    table = table_of_kit(SPACE, tmp_path / "table.json", kit / "measured.json", input_size=SIZE)
    assert table.record["way"] == TOTALS
    assert table.key["batch"] == 2
    assert {"onnxruntime", "torch"} == table.key["versions"].keys()
    assert LatencyTable.load(tmp_path / "table.json").predict(SPACE.operators(SIZE), sizes(SPACE.groups)).ms > 0
    stopped = {**first, "times": {name: first["times"][name] for name in [*first["times"]][:7]}}
    (kit / "measured.json").write_text(json.dumps(stopped))
    shown = []
    device.print = lambda *args, **options: shown.append(args)
    try:
        assert device.main([*QUICK], kit) == 0
    finally:
        del device.print
    again = json.loads((kit / "measured.json").read_text())
    assert {name: again["times"][name] for name in stopped["times"]} == stopped["times"]
    assert again["times"].keys() == first["times"].keys()
    assert len([line for line in shown if "of the unpruned" in line[0]]) == 1


def test_openvino_times_kits_too(kit):
    pytest.importorskip("openvino")
    manifest = json.loads((kit / "manifest.json").read_text())
    manifest["networks"] = manifest["networks"][:1]
    (kit / "manifest.json").write_text(json.dumps(manifest))
    assert device.main(["--engine", "openvino", *QUICK[2:]], kit) == 0
    found = read_measured(kit / "measured.json", SPACE, SIZE)
    assert (found.key["backend"], "provider" in found.key) == ("openvino", False)
    assert found.timings[0].ratio > 0
    assert "openvino_telemetry" not in {name for name, module in sys.modules.items() if module is not None}


def refused_there(kit, capsys, *arguments):
    """The one line that measure_kit.py leaves with."""
    assert device.main(list(arguments), kit) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_the_script_refuses_in_one_line(kit, capsys, monkeypatch):
    made_up_times(kit, lambda widths: 0.5)
    line = refused_there(kit, capsys, *QUICK)
    assert "measured.json: is of another backend and provider and device" in line
    assert "--rounds 3, --warmup 0.25: at least" in refused_there(kit, capsys, "--rounds", "3")
    assert "--threads 100000: at most" in refused_there(kit, capsys, "--threads", "100000")
    assert "--provider no: not in this onnxruntime" in refused_there(
        kit, capsys, "--engine", "onnxruntime", "--provider", "no"
    )
    assert "--trtexec absent: no such program" in refused_there(
        kit, capsys, "--engine", "trtexec", "--trtexec", "absent"
    )
    line = refused_there(kit, capsys, "--trtexec", "/usr/src/tensorrt/bin/trtexec")
    assert "trtexec: would do nothing; give --engine trtexec as well" in line
    line = refused_there(kit, capsys, "--engine", "trtexec", "--provider", "GPU")
    assert "--provider GPU: would do nothing with --engine trtexec" in line
    monkeypatch.setattr(device, "installed", lambda module: False)
    assert "no engine is installed here" in refused_there(kit, capsys)
    manifest = json.loads((kit / "manifest.json").read_text())
    manifest["files"]["n000.onnx"] = "0" * 64
    (kit / "manifest.json").write_text(json.dumps(manifest))
    assert "networks/n000.onnx: missing or damaged" in refused_there(kit, capsys)


def test_the_script_is_one_of_python_3_8():
    """Whose classes take no subscript but in annotations, which are not evaluated."""
    tree = ast.parse(kit_script(), feature_version=(3, 8))
    annotations = [
        note
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if (note := getattr(node, field, None)) is not None
    ]
    said = {id(node) for note in annotations for node in ast.walk(note)}
    plain = {*vars(collections.abc), *vars(builtins)}
    evaluated = [
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and id(node) not in said
    ]
    assert not plain & {*evaluated}
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"removeprefix", "removesuffix", "bit_count", "pairwise"}
    assert "strict" not in {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1', "null", '{"format": 1}'])
def test_damaged_files_are_told_there_in_one_line(kit, capsys, text):
    (kit / "measured.json").write_text(text)
    assert refused_there(kit, capsys, *QUICK) == "error: measured.json: missing or damaged; give --again to forget it"
    (kit / "manifest.json").write_text(text)
    assert refused_there(kit, capsys, *QUICK) == "error: manifest.json: missing or damaged; copy the whole kit again"
    (kit / "manifest.json").unlink()
    assert "manifest.json: missing or damaged" in refused_there(kit, capsys)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("networks", []), ("networks", {"n000": 1}), ("networks", [{}]), ("networks", [{"name": [0]}]),
        ("networks", [{"name": "../../elsewhere"}]), ("networks", [{"name": "unlisted"}]),
        ("files", ["n000.onnx"]), ("files", {}),
        ("input", "2"), ("input", [2, 3, 32]), ("input", [-1, 3, 32, 32]), ("input", [1.5, 3, 32, 32]),
    ],
)  # fmt: skip
def test_a_manifest_of_other_shapes_opens_no_network(kit, capsys, monkeypatch, key, value):
    """Names become paths: what lies outside of networks/ is not opened."""
    (kit.parent / "elsewhere.onnx").write_bytes((kit / "networks/n000.onnx").read_bytes())
    monkeypatch.setattr(Engine, "time", lambda *args: pytest.fail("opened"))
    manifest = json.loads((kit / "manifest.json").read_text())
    (kit / "manifest.json").write_text(json.dumps({**manifest, key: value}))
    assert refused_there(kit, capsys, *QUICK) == "error: manifest.json: missing or damaged; copy the whole kit again"


@pytest.mark.parametrize(
    "entry",
    ["5", "{}", '{"network": [1, 1, 1, 1], "unpruned": [1, 1, 1], "reference_ms": 1}']
    + [
        f'{{"network": [1, 1, 1, 1], "unpruned": [1, 1, 1, {odd}], "reference_ms": 1}}'
        for odd in ("NaN", "-1", "9" * 400)
    ],
)
def test_times_of_other_shapes_are_not_kept(kit, capsys, monkeypatch, entry):
    """The package refuses them, and would say for ever that the script is to be run again."""
    monkeypatch.setitem(device.ENGINES, "onnxruntime", Odd)
    refused_there(kit, capsys, *QUICK)
    kept = json.loads((kit / "measured.json").read_text())
    for times in ("[]", f'{{"n000": {entry}}}'):
        text = json.dumps({**kept, "times": "HERE"}).replace('"HERE"', times)
        (kit / "measured.json").write_text(text)
        line = refused_there(kit, capsys, *QUICK)
        assert line == "error: measured.json: missing or damaged; give --again to forget it"


class Odd(Engine):
    """An engine whose author raises what he likes at the network `n001`."""

    backend, versions = "odd", {"odd": "1"}

    def __init__(self, args):
        pass

    def open(self, path, images):
        if path.stem == "n001":
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL :\nno kernel\nfor this width")
        return lambda: None


def test_an_engine_that_fails_at_one_network_says_which(kit, capsys, monkeypatch):
    monkeypatch.setitem(device.ENGINES, "onnxruntime", Odd)
    line = refused_there(kit, capsys, *QUICK)
    says = "[ONNXRuntimeError] : 1 : FAIL : no kernel for this width"
    assert line == f"error: network n001: odd cannot run it ({says}); choose another --engine or --provider"
    assert [*json.loads((kit / "measured.json").read_text())["times"]] == ["n000"]
    monkeypatch.setitem(device.ENGINES, "onnxruntime", lambda args: args.no_such_thing)
    assert "--engine onnxruntime: cannot be loaded" in refused_there(kit, capsys, *QUICK)


def test_a_folder_that_takes_no_times_is_told_in_one_line(kit, capsys, monkeypatch):
    monkeypatch.setitem(device.ENGINES, "onnxruntime", Odd)
    (kit / "measured.tmp").mkdir()
    assert "measured.json: cannot be written (" in refused_there(kit, capsys, *QUICK)
    (kit / "measured.tmp").rmdir()
    (kit / "measured.json").mkdir()
    assert "measured.json: missing or damaged" in refused_there(kit, capsys, *QUICK)
    assert "measured.json: cannot be written (" in refused_there(kit, capsys, *QUICK, "--again")
    assert not (kit / "measured.tmp").exists()


TRTEXEC = """#!{python}
import json, sys
given = dict(text.partition("=")[::2] for text in sys.argv[1:])
if "--help" in given:
    print("&&&& RUNNING TensorRT.trtexec [TensorRT v101300] # trtexec --help")
elif "--skipInference" in given:
    sys.exit("[E] Unknown option: --skipInference")  # of TensorRT 8.5 and before
elif "--onnx" in given:
    open(given["--saveEngine"], "w").write(given["--onnx"])
else:
    network = open(given["--loadEngine"]).read()
    ms = 4.0 if network.endswith("unpruned.onnx") else 3.0
    entries = [{{"computeMs": ms, "latencyMs": 2 * ms}}] * int(given["--iterations"])
    json.dump(entries, open(given["--exportTimes"], "w"))
"""


def test_trtexec_takes_turns_by_runs(kit, tmp_path, monkeypatch):
    monkeypatch.setattr(nvidia, "RUNS", 2)
    program = tmp_path / "own programs" / "trtexec"
    program.parent.mkdir()
    stale = kit / "engines" / "unpruned.engine"
    stale.parent.mkdir()
    stale.write_text("of another GPU")
    program.write_text(TRTEXEC.format(python=sys.executable))
    program.chmod(0o755)
    manifest = json.loads((kit / "manifest.json").read_text())
    manifest["networks"] = manifest["networks"][:1]
    (kit / "manifest.json").write_text(json.dumps(manifest))
    assert device.main(["--engine", "trtexec", "--trtexec", str(program), "--rounds", "4"], kit) == 0
    found = read_measured(kit / "measured.json", SPACE, SIZE)
    assert found.measured["versions"] == {"tensorrt": "101300"}
    assert len(found.measured["times"]["n000"]["network"]) == 8
    assert [each.ratio for each in found.timings] == [0.75]
    assert [path.name for path in (kit / "engines").glob("*.engine")] == ["unpruned.engine"]
