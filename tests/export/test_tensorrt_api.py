"""Every name of TensorRT's interface that we use: the module at hand and releases of TensorRT 10 and 11 have it.

Of the releases tensorrt_api.json tells names and signatures; record_tensorrt_api.py read them in NVIDIA's own modules.
"""

import ast
import inspect
import json
import math
from types import SimpleNamespace

import fake_tensorrt
import pytest
from record_tensorrt_api import RECORD
from tensorrt_names import BY_TEXT, FILES, ONLY_RTX, OPTIONAL, ROOT, accepts, describe, uses

USED = uses(*FILES)
RELEASES = json.loads(RECORD.read_text())
REMEDY = "describe it by record_tensorrt_api.py, in every release"


def recorded(version):
    """{name: what that release has}."""
    return {
        name: described
        for name, entries in RELEASES["names"].items()
        for described, versions in entries.items()
        if version in versions
    }


def installed(module):
    trt = pytest.importorskip(module, reason=f"{module} is not installed")
    return {name: described for name in USED.names if (described := describe(trt, name)) is not None}


def check(has, *, but):
    """All names but `but` are there, calls and overrides fit their signatures, and what we assign is not read-only."""
    assert USED.names - set(has) == but, REMEDY
    refused = [call for call in USED.calls if call[0] in has and not accepts(has[call[0]], *call[1:])]
    assert refused == []
    assert {name: has[name] for name in USED.assigned - but if has[name] != "property"} == {}
    assert {n: has[n] for n, arguments in USED.overrides.items() if not accepts(has[n], arguments, (), False)} == {}


@pytest.mark.parametrize("version", RELEASES["versions"])
def test_releases_of_tensorrt_have_what_we_use(version):
    check(recorded(version), but=ONLY_RTX | ({"BuilderFlag.FP16"} if version.startswith("11.") else set()))


def test_the_releases_are_the_oldest_and_newest_of_10_and_11_and_nothing_recorded_is_stale():
    assert [version.rpartition(".")[0] for version in RELEASES["versions"]] == ["10.0", "10.16.1", "11.0.0", "11.4.0"]
    assert set(RELEASES["names"]) == USED.names - ONLY_RTX, REMEDY


def test_installed_tensorrt_rtx_has_what_we_use():
    check(installed("tensorrt_rtx"), but={"BuilderFlag.FP16"})


def test_installed_tensorrt_has_what_we_use():
    has = installed("tensorrt")
    check(has, but=ONLY_RTX | (OPTIONAL - set(has)))


def test_what_may_be_missing_is_asked_for_first():
    assert USED.asked == OPTIONAL


def test_the_reader_of_sources_sees_every_form(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "trt.Builder(1, key=2)\nself._context.a(network.b, *c)\nx = builder.c\nbuilder_config.d = trt.E.F\n"
        "getattr(trt.G, 'H', None)\n_member(trt, 'I', 'J', 'k')\nhasattr(trt, 'L')\nother.attribute\n"
        "class M(trt.N):\n    def __init__(self):\n        trt.N.__init__(self)\n    def o(self, p, q): pass\n"
    )
    found = uses(file)
    assert found.asked == {"G.H", "I.J", "L"}
    assert found.assigned == {"IBuilderConfig.d"}
    assert found.overrides == {"N.o": 2}
    assert found.read == {
        "Builder", "IExecutionContext.a", "INetworkDefinition.b", "Builder.c", "IBuilderConfig.d", "E", "E.F", "G",
        "N", "N.__init__",
    }  # fmt: skip
    assert found.calls == [
        ("Builder", 1, ("key",), False), ("IExecutionContext.a", 1, (), True), ("N.__init__", 0, (), False),
    ]  # fmt: skip
    assert found.names == found.read | found.asked | {"N.o"} | BY_TEXT


class Described:
    """Has, as a class with a method that is only told of:

    def told(self, a, b): ...
    """

    def plain(self):
        """plain(self: m.D, a: List[Tuple[int, str]], b: m.E = <E.A: 0>) -> m.F"""

    def overloaded(self):
        """overloaded(*args, **kwargs)
        Overloaded function.

        1. overloaded(self: m.D, name: str, shape: tuple) -> bool

        2. overloaded(self: m.D) -> bool
        """

    read_only = property(lambda self: 1)
    writable = property(lambda self: 1, lambda self, value: None)
    constant = math.pi


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("D.plain", "(a, b=)"), ("D.overloaded", "(name, shape)|()"), ("D.told", "(a, b)"), ("D.nothing", None),
        ("D.read_only", "property, read-only"), ("D.writable", "property"), ("D.constant", "value"), ("E.x", None),
        ("Severity.ERROR", "value"), ("E", None),
    ],
)  # fmt: skip
def test_a_name_is_described(name, described):
    Described.overloaded.__doc__ = inspect.cleandoc(Described.overloaded.__doc__)
    module = SimpleNamespace(D=Described, ILogger=SimpleNamespace(Severity=SimpleNamespace(ERROR=1)))
    assert describe(module, name) == described


@pytest.mark.parametrize(
    ("described", "call", "accepted"),
    [
        ("(a, b=)", (1, (), False), True), ("(a, b=)", (2, (), False), True), ("(a, b=)", (3, (), False), False),
        ("(a, b=)", (0, (), False), False), ("(a, b=)", (0, ("a",), False), True), ("(a)", (1, ("c",), False), False),
        ("(a, b)", (1, (), True), True), ("(a, b)", (3, (), True), False), ("()|(a)", (1, (), False), True),
        ("()", (0, (), False), True), ("property", (0, (), False), False),
    ],
)  # fmt: skip
def test_a_call_is_held_against_a_signature(described, call, accepted):
    assert accepts(described, *call) is accepted


def test_the_fake_module_promises_nothing_that_the_real_one_has_not():
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    classes = {n: c for n, c in vars(fake_tensorrt).items() if inspect.isclass(c) and c.__module__ == "fake_tensorrt"}
    assert {"Runtime", "ICudaEngine", "IExecutionContext", "IOutputAllocator"} <= set(classes)
    names = set(classes) - {"Severity"}  # a member of ILogger
    names |= {f"{c}.{name}" for c in classes for name in vars(classes[c]) if not name.startswith("_")}
    assert {name for name in names if describe(trt, name) is None} == {"BuilderFlag.FP16"}


def test_run_tensorrt_uses_names_that_cuda_python_has():
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    tree = ast.parse((ROOT / "docs/deploy/run_tensorrt.py").read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("cuda")}
    names -= {"cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost", "cudart"}
    assert len(names) >= 10
    assert {name for name in names if not hasattr(cudart, name)} == set()
    assert hasattr(cudart.cudaMemcpyKind, "cudaMemcpyHostToDevice")
    assert hasattr(cudart.cudaMemcpyKind, "cudaMemcpyDeviceToHost")
