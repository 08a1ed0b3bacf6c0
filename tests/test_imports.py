"""Rooms import only rooms below them, and nothing heavy before it is used."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_tool import importable

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "plan", "spaces", "costs", "penalties", "search", "pruning", "tracing", "engine", "export", "measure",
    "report", "pipeline", "api", "detection", "topology", "commands",
)  # fmt: skip
PRESENT = tuple(room for room in ROOMS if (ROOT / "compress" / room).is_dir())
HEAVY = (
    "onnx",
    "onnxruntime",
    "onnxscript",
    "matplotlib",
    "timm",
    "sklearn",
    "tensorrt",
    "tensorrt_rtx",
    "mmdet",
    "openvino",
)


def imported_rooms(file, root=ROOT):
    """Rooms that a module of `compress` imports, wherever in the file."""
    package = file.relative_to(root).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        for name in names:
            head, *rest = name.split(".")
            if head == "compress" and rest and rest[0] in ROOMS:
                yield rest[0]


def test_every_folder_of_the_library_is_a_room():
    folders = {path.parent.name for path in (ROOT / "compress").glob("*/*.py")}
    assert folders <= set(ROOMS)
    assert {"plan", "spaces", "search", "pruning", "engine", "pipeline"} <= folders


@pytest.mark.parametrize("room", PRESENT)
def test_a_room_imports_only_rooms_before_it(room):
    files = list((ROOT / "compress" / room).rglob("*.py"))
    assert files
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    if room == "pruning":
        allowed.remove("search")  # a plan does not depend on what made the scores
    if room == "engine":
        allowed.remove("pruning")  # a search hands scores over, whatever is selected by them
    if room == "report":
        allowed = {"plan", "report"}  # it reads run folders only
    if room == "commands":
        allowed.remove("detection")  # a leaf, which is found by its entry point; of topology it has a command
    if room == "topology":
        allowed.remove("detection")
    for file in files:
        found = set(imported_rooms(file))
        assert found <= allowed, f"{file.relative_to(ROOT)} imports {sorted(found - allowed)}"


def test_the_parser_of_imports_sees_every_form(tmp_path):
    (tmp_path / "compress" / "plan").mkdir(parents=True)
    file = tmp_path / "compress" / "plan" / "x.py"
    file.write_text(
        "from ..search import a\nfrom .. import costs\ndef f():\n    import compress.engine.data\nfrom . import y\n"
    )
    assert set(imported_rooms(file, tmp_path)) == {"search", "costs", "engine", "plan"}


def test_a_tool_run_in_this_process_leaves_libraries_their_places_on_the_path(tmp_path):
    before = list(sys.path)
    try:
        with importable(tmp_path):
            sys.path.append("a library's")
            assert sys.path[0] == str(tmp_path)
        assert sys.path == [*before, "a library's"]
    finally:
        sys.path[:] = before


def python(code, *options):
    done = subprocess.run(
        [sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_and_the_report_needs_no_torch():
    for module in ("compress", "compress.plan", "compress.report"):
        loaded = python(f"import sys, {module}; print('\\n'.join(sys.modules))").split()
        packages = {name.partition(".")[0] for name in loaded}
        assert packages.isdisjoint({"torch", "mmengine", "torchvision", *HEAVY}), module
        assert module in loaded


def test_labels_of_backends_need_nothing_that_runs_networks():
    code = "import sys; from compress.plan.backends import BACKENDS; print(len(BACKENDS.own())); print(*sys.modules)"
    count, *loaded = python(code).split()
    assert int(count) == 6
    assert "compress.measure.backends.ort" in loaded
    assert {name.partition(".")[0] for name in loaded}.isdisjoint({"torch", "numpy", "mmengine", *HEAVY})


def test_importing_every_module_of_every_room_loads_nothing_heavy():
    """Rooms in order, so that the first one at fault is named."""
    rooms = [room for room in PRESENT if room != "detection"]  # a leaf, whose classes are MMDetection's
    code = f"""
import importlib, json, pkgutil, sys
rooms, heavy, found = {rooms!r}, {HEAVY!r}, {{}}
for room in rooms:
    package = importlib.import_module("compress." + room)
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(info.name)
    for name in heavy:
        if name in sys.modules:
            found.setdefault(name, room)
print(json.dumps(found))
"""
    assert json.loads(python(code)) == {}


HELP = [[f"tools/{path.name}", "--help"] for path in sorted((ROOT / "tools").glob("*.py"))]


@pytest.mark.parametrize(
    "arguments", [*HELP, ["compress/__main__.py", "--help"], ["compress/__main__.py", "prune", "--help"]], ids=" ".join
)
def test_help_answers_at_once_and_without_torch(arguments):
    """An answer within half a second is some 150 light modules, `compress.plan` among them; the interpreter has 30."""
    code = f"""
import runpy, sys
sys.argv = {arguments!r}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("loaded:", *sys.modules)
"""
    usage, loaded = python(code).split("loaded:")
    assert "usage:" in usage
    modules = loaded.split()
    assert "argparse" in modules
    assert {name.partition(".")[0] for name in modules}.isdisjoint({"torch", "numpy", "mmengine", "rich", *HEAVY})
    assert len(modules) < 180
