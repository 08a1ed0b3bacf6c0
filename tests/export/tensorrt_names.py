"""What our code asks of TensorRT's Python module, read from its syntax trees, and what a module has of it.

Variables that hold TensorRT's objects have the same name everywhere (OWNERS), so whatever is read from them, called or
assigned is a use of the interface. A name is written "Class.name"; the module's own are written "name".
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path

from compress.export.tensorrt.backend import ERRORS
from compress.export.tensorrt.network import DTYPES

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *sorted(set((ROOT / "compress/export/tensorrt").glob("*.py")) - {ROOT / "compress/export/tensorrt/card.py"}),
    ROOT / "docs/deploy/run_tensorrt.py",
    ROOT / "docs/deploy/detect_tensorrt.py",
]
"""The card's `engine` is a path."""
OWNERS = {
    "trt": "",  # the module itself
    "builder": "Builder",
    "builder_config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "profile": "IOptimizationProfile",
    "tensor": "ITensor",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}
OPTIONAL = {
    "BuilderFlag.FP16", "BuilderFlag.VERSION_COMPATIBLE", "HardwareCompatibilityLevel.AMPERE_PLUS", "IProgressMonitor",
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
}  # fmt: skip
"""Asked for by getattr, and done without, or refused in one line, where it is missing."""
ONLY_RTX = {
    "ComputeCapability", "IBuilderConfig.num_compute_capabilities", "IBuilderConfig.set_compute_capability",
}  # fmt: skip
OUR_OWN = {"IOutputAllocator.tensor"}
"""A method of a class that derives from one of TensorRT's, for ourselves."""
BY_TEXT = {f"DataType.{name}" for name in DTYPES} | {f"Severity.{name}" for name in (*ERRORS, "WARNING")}
"""Members that are known by their `.name` alone, which the reader of sources does not follow."""


@dataclass
class Uses:
    """What sources do with TensorRT's names; calls are (name, positional arguments, keywords, whether a * is there)."""

    read: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    calls: list[tuple[str, int, tuple[str, ...], bool]] = field(default_factory=list)
    overrides: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Everything that a version has to have, but for OPTIONAL and ONLY_RTX."""
        return self.read | self.asked | set(self.overrides) | BY_TEXT


def uses(*files: Path) -> Uses:
    """What `files` read, assign, call and override, and what they ask for by getattr, hasattr or `_member`."""
    found = Uses()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and (name := _name(node)):
                found.read.add(name)
                if isinstance(node.ctx, ast.Store):
                    found.assigned.add(name)
            if isinstance(node, ast.Call):
                _call(node, found)
            if isinstance(node, ast.ClassDef):
                for base in filter(None, map(_name, node.bases)):
                    methods = [f for f in node.body if isinstance(f, ast.FunctionDef) and not f.name.startswith("_")]
                    found.overrides |= {f"{base}.{f.name}": len(f.args.args) - 1 for f in methods}
    found.overrides = {name: n for name, n in found.overrides.items() if name not in OUR_OWN}
    return found


def _call(node, found):
    texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr") and texts:
        if (owner := _owner(node.args[0])) is not None:
            found.asked.add(_join(owner, texts[0]))
    elif isinstance(node.func, ast.Name) and node.func.id == "_member":
        found.asked.add(_join(*texts[:2]))
    elif isinstance(node.func, ast.Attribute) and (name := _name(node.func)):
        plain = [a for a in node.args if not isinstance(a, ast.Starred)]
        n = len(plain) - name.endswith(".__init__")  # called on the class, with self
        found.calls.append((name, n, tuple(k.arg for k in node.keywords), len(plain) < len(node.args)))


def _name(node):
    """The name that the attribute `node` is in the interface; None: not TensorRT's."""
    if isinstance(node, ast.Attribute) and (owner := _owner(node.value)) is not None:
        return _join(owner, node.attr)
    return None


def _owner(node):
    """The class that the expression `node` is an object of, or a class of the module; None: not TensorRT's."""
    if isinstance(node, ast.Name):
        return OWNERS.get(node.id)
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return OWNERS.get(node.attr.removeprefix("_"))
        if _owner(node.value) == "":
            return node.attr
    return None


def _join(owner, name):
    return f"{owner}.{name}" if owner else name


def describe(trt, name):
    """What the module `trt` has under `name`; None: nothing.

    "(network, logger)" for what can be called, "|" between overloads and "=" after parameters with a default;
    "property" or "property, read-only"; "value" for the rest. Signatures come from the docstrings.
    """
    owner, _, last = name.rpartition(".")
    holder = {"": trt, "Severity": trt.ILogger.Severity}.get(owner) or getattr(trt, owner, None)
    if holder is None:
        return None
    if not hasattr(holder, last):  # methods to override may be told of only in the class's docstring
        found = re.search(rf"def {last}\(self, (.*?)\)", holder.__doc__ or "") if owner else None
        return f"({found[1]})" if found else None
    value = getattr(holder, last)
    if isinstance(value, property):
        return "property" if value.fset else "property, read-only"
    if inspect.isclass(value):
        value, last = value.__init__, "__init__"
    signatures = re.findall(
        rf"^(?:\d+\. )?{last}\((?:self: [^,)]+(?:, )?)(.*)\) -> ", value.__doc__ or "", re.MULTILINE
    )
    return "|".join(f"({', '.join(map(_parameter, _split(text)))})" for text in signatures) or "value"


def _split(text):
    """At the commas outside of brackets."""
    return re.findall(r"(?:[^,\[<(]|\[(?:[^\[\]]|\[[^\]]*\])*\]|<[^>]*>|\([^)]*\))+", text)


def _parameter(text):
    return text.partition(":")[0].strip() + "=" * (" = " in text)


def accepts(described, n_positional, keywords, starred):
    """Whether what `describe` tells of can be called with so many arguments; a * may stand for any number."""
    for overload in described.split("|"):
        parameters = [p for p in overload.strip("()").split(", ") if p]
        left = parameters[n_positional:]
        names = {p.rstrip("=") for p in left}
        needed = {p for p in left if not p.endswith("=")}
        if overload[:1] != "(" or n_positional > len(parameters) or not set(keywords) <= names:
            continue
        if starred or needed <= set(keywords):
            return True
    return False
