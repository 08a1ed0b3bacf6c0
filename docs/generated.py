"""Pages of the site that the code itself says: every setting of a recipe, every command, the exported names.

A hook of MkDocs (mkdocs.yml); nothing of it stands in the repository, so it cannot grow old.
"""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

ROOT = Path(__file__).resolve().parents[1]
FILE = re.compile(r"^(```\w+) ([\w.]+)$", re.M)
"""The first line of a file that a tutorial shows."""
ROOMS = {
    "spaces": "Networks: spaces of widths, groups of channels, checkpoints, cards",
    "costs": "Costs: MACs, parameters, latency tables",
    "search": "Search: the methods",
    "penalties": "Penalties",
    "pruning": "Selection and slicing",
    "tracing": "Any network: traced groups",
    "export": "ONNX, TensorRT, 8 bits",
    "measure": "Latency: measuring, tables, kits",
    "report": "Reports",
    "detection": "Detectors",
    "topology": "Cells",
    "plan": "Files, plans, settings, errors",
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those in docs/."""
    from mkdocs.structure.files import File

    pages = {"recipes": recipes(), "commands": commands(), "python": face()}
    for name in ("changelog", "security"):  # they lie beside docs/
        pages[name] = (ROOT / f"{name.upper()}.md").read_text().replace("](docs/", "](../")
    pages |= {f"python_{room}": names(room, title) for room, title in ROOMS.items()}
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to pages that lie beside docs/ in the repository, and files of tutorials with their names as titles.

    The site's Markdown takes no fence that a bare name follows: its lines would be ordinary text.
    """
    named = FILE.sub(r'\1 title="\2"', markdown)
    return named.replace("](../SECURITY.md)", "](reference/security.md)")


def recipes() -> str:
    """Every key of every section, with its type, range, default and meaning."""
    from compress.detection.data import DetectionData
    from compress.pipeline.recipe import Recipe
    from compress.spaces import SPACES
    from compress.topology.recipe import TopologyRecipe

    parts = ["# Settings of recipes", INTRODUCTION]
    for spec in fields(Recipe):
        hint = typing.get_type_hints(Recipe)[spec.name]
        if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
            parts += [f"## {spec.name}", summary(hint), table(hint)]
    parts += ["### finetune.distill", *section("compress.engine.settings", "DistillConfig")]
    parts += ["## data of detectors", summary(DetectionData), table(DetectionData)]
    search = typing.get_type_hints(TopologyRecipe)["search"]
    parts += ["## search of cells", "The settings of `search` above, and:", table(search, own=True)]
    parts += ["## bench", *section("compress.topology.recipe", "BenchConfig")]
    parts += ["## space"]
    for name in ("preresnet", "mobilenetv2", "swin", "vit", "traced"):
        kind = SPACES[name]
        parts += [f"### space.type = {name!r}", summary(kind), "\n".join(arguments_of(kind))]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """Sections are dicts of a recipe; on the command line a key is `--cfg-options search.epochs=8`.
Unknown keys are refused with the nearest known one, and values out of their range with the range. `name` (that of the
file unless given) names the run's folder, `seed` (0) seeds everything that is drawn."""


def section(module: str, name: str) -> tuple[str, str]:
    """Summary and table of one class of settings."""
    kind = getattr(import_module(module), name)
    return summary(kind), table(kind)


def table(kind: Any, *, own: bool = False) -> str:
    """The fields of a class of settings; `own`: those that it does not take over from its base."""
    hints, said = typing.get_type_hints(kind, include_extras=True), described(kind)
    lines = ["| key | value | default | |", "| --- | --- | --- | --- |"]
    for spec in fields(kind):
        if not own or spec.name in vars(kind).get("__annotations__", {}):
            value, default = shown_type(hints[spec.name]), shown_default(spec)
            lines.append(f"| `{spec.name}` | {value} | {default} | {said.get(spec.name, '')} |")
    return "\n".join(lines)


def described(kind: Any) -> dict[str, str]:
    """{field: what it is}, from the `Args:` lists of a class and its bases."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        doc = inspect.cleandoc(each.__dict__.get("__doc__") or "")
        listed = re.search(r"^Args:\n((?:    .*\n?|\n(?=    ))+)", doc, re.M)
        for entry in re.split(r"\n(?=    \S)", listed.group(1).rstrip()) if listed else ():
            name, _, text = entry.strip().partition(": ")
            found |= {one.strip(): " ".join(text.split()).replace("|", "\\|") for one in name.split(",")}
    return found


def summary(kind: Any) -> str:
    """A class's docstring down to its lists and examples."""
    doc = inspect.getdoc(kind) or ""
    return re.split(r"^(?:Args:|Raises:|Raises |Example::)", doc, flags=re.M)[0].strip()


def arguments_of(kind: Any) -> Iterator[str]:
    """The arguments of a space and their defaults, a line each."""
    for name, parameter in inspect.signature(kind).parameters.items():
        default = parameter.default
        more = "" if default is parameter.empty else " (given by the run)" if callable(default) else f" = `{default!r}`"
        if name not in ("widths", "num_classes", "self"):
            yield f"- `space.{name}`{more if '<factory>' not in more else ' = `{}`'}"


def shown_type(hint: Any) -> str:
    """An annotation as a reader has it: choices, bounds, or the type."""
    base, rules = (typing.get_args(hint)[0], typing.get_args(hint)[1:]) if is_annotated(hint) else (hint, ())
    origin, args = typing.get_origin(base), typing.get_args(base)
    if origin in (typing.Union, types.UnionType):
        some = [shown_type(Annotated[each, *rules] if rules else each) for each in args if each is not type(None)]
        return ", ".join([*some, *(["None"] if type(None) in args else [])])
    if origin is Literal:
        return ", ".join(f"`{choice!r}`" for choice in args)
    words = {int: "whole number", float: "number", str: "text", bool: "True or False"}
    if base in words:
        return words[base] + "".join(rule._bounds(base is int) for rule in rules).replace(" at most 2147483647", "")
    if origin is tuple:
        return "list of " + shown_type(args[0])
    return "dict"


def is_annotated(hint: Any) -> bool:
    """Whether the annotation has rules beside its type."""
    return typing.get_origin(hint) is Annotated


def shown_default(spec: Field[Any]) -> str:
    """A field's default as it is written in a recipe."""
    if spec.default is MISSING and spec.default_factory is MISSING:
        return "must be given"
    return f"`{spec.default if spec.default_factory is MISSING else spec.default_factory()!r}`"


def commands() -> str:
    """What `nncompress NAME --help` says, command by command."""
    from compress.commands import COMMANDS, command_parser

    parts = ["# Commands", "`nncompress NAME` is `python -m compress NAME`; `tools/NAME.py` of a checkout is the same."]
    for name in COMMANDS:
        parser = command_parser(name, program=f"nncompress {name}")
        parts += [f"## {name}", str(parser.description), f"```text\n{parser.format_usage().strip()}\n```"]
        lines = [line for group in parser._action_groups for line in options(group)]
        parts.append("\n".join(["| argument | |", "| --- | --- |", *lines]))
    return "\n\n".join(parts) + "\n"


def options(group: argparse._ArgumentGroup) -> Iterator[str]:
    """The arguments of one group, a row each."""
    for action in group._group_actions:
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction):
            shown = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            value = "" if not action.option_strings or action.nargs == 0 else f" {metavar(action)}"
            text = (action.help or "").replace("|", "\\|").replace("%%", "%").replace("<", "&lt;")
            yield f"| `{shown}{value}` | {text} |"


def metavar(action: argparse.Action) -> str:
    """What stands for an option's value."""
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    found = action.metavar or action.dest.upper()
    return " ".join(found) if isinstance(found, tuple) else found


def face() -> str:
    """The page of what `import compress` gives."""
    import compress

    shown = [getattr(compress, name) for name in compress.__all__ if name != "__version__"]
    return "\n\n".join([FACE, *map(entry, shown)]) + "\n"


FACE = """# compress

What `import compress` gives. Alone it imports nothing heavy."""


def names(room: str, title: str) -> str:
    """The page of a room: all classes and functions that it exports."""
    module = import_module(f"compress.{room}")
    first = (inspect.getdoc(module) or "").partition("\n\n")[0]
    found = [getattr(module, name) for name in sorted(module.__all__)]
    shown = [each for each in found if inspect.isclass(each) or inspect.isfunction(each)]
    return "\n\n".join([f"# {title}", f"`compress.{room}`. {first}", *map(entry, shown)]) + "\n"


def entry(found: Any) -> str:
    """Where an object stands: a room may export a function by the name of its module."""
    return f"::: {found.__module__}.{found.__qualname__}"
