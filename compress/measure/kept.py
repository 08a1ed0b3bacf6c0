"""What was measured, on file: that of a stopped run goes on, that of several tables becomes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..costs.latency import read_table
from ..plan import UserError, write_json
from ..plan.table_file import PROFILES, TOTALS, MeasuredFile
from .profiling import Profile, Timing
from .regions import members, region

EQUAL = ("multiple", "rounds", "way")
"""What tables that are merged must agree in, beside their keys."""


def pack(profiles: Sequence[Profile]) -> dict[str, Any]:
    """`profiles`, of one space, as plain values: names once, numbers as rows; `unpack` gives them back exactly.

    Example::

        unpack(pack(profiles)) == profiles  # True
    """
    groups = list(profiles[0].sizes) if profiles else []
    names = sorted({name for p in profiles for name in (*p.nodes, *p.unpruned_nodes)})
    operators = sorted({operator for name in names for operator in members(name)})
    fused = {"regions": [[operators.index(each) for each in members(name)] for name in names]}
    return {
        "groups": groups,
        "sizes": [profiles[0].sizes[group] for group in groups] if profiles else [],
        "widths": [[p.widths[group] for group in groups] for p in profiles],
        "operators": operators,
        **(fused if names != operators else {}),
        "shares": [[p.operators.get(name, 0.0) for name in names] for p in profiles],
        "unpruned_shares": [[p.unpruned.get(name, 0.0) for name in names] for p in profiles],
        "nodes": [[p.nodes.get(name, 0) for name in names] for p in profiles],
        "unpruned_nodes": [[p.unpruned_nodes.get(name, 0) for name in names] for p in profiles],
        "ratio": [p.ratio for p in profiles],
        "unpruned_ms": [p.unpruned_ms for p in profiles],
        "reference_ms": [p.reference_ms for p in profiles],
    }


def unpack(value: Mapping[str, Any]) -> list[Profile]:
    """What `pack` was given."""
    groups, names = value["groups"], value["operators"]
    if "regions" in value:
        names = [region([names[i] for i in each]) for each in value["regions"]]
    columns = [
        value[key] for key in ("widths", "shares", "unpruned_shares", "nodes", "unpruned_nodes", "ratio", "unpruned_ms")
    ]
    sizes = dict(zip(groups, value["sizes"], strict=True))
    found = []
    for widths, shares, full, nodes, full_nodes, *rest in zip(*columns, value["reference_ms"], strict=True):
        pairs = [
            {name: (share, n) for name, share, n in zip(names, row, numbers, strict=True) if n}
            for row, numbers in ((shares, nodes), (full, full_nodes))
        ]
        own, unpruned = ({name: share for name, (share, _) in pair.items()} for pair in pairs)
        counts, unpruned_counts = ({name: n for name, (_, n) in pair.items()} for pair in pairs)
        at = dict(zip(groups, widths, strict=True))
        found.append(Profile(at, sizes, own, unpruned, counts, unpruned_counts, *rest))
    return found


def pack_totals(timings: Sequence[Timing]) -> dict[str, Any]:
    """`timings`, of one space, as plain values; `unpack_totals` gives them back exactly."""
    groups = list(timings[0].sizes) if timings else []
    return {
        "groups": groups,
        "sizes": [timings[0].sizes[group] for group in groups] if timings else [],
        "widths": [[t.widths[group] for group in groups] for t in timings],
        "ratio": [t.ratio for t in timings],
        "unpruned_ms": [t.unpruned_ms for t in timings],
        "reference_ms": [t.reference_ms for t in timings],
    }


def unpack_totals(value: Mapping[str, Any]) -> list[Timing]:
    """What `pack_totals` was given."""
    groups, sizes = value["groups"], dict(zip(value["groups"], value["sizes"], strict=True))
    columns = [value[key] for key in ("widths", "ratio", "unpruned_ms", "reference_ms")]
    return [
        Timing(dict(zip(groups, widths, strict=True)), sizes, *rest) for widths, *rest in zip(*columns, strict=True)
    ]


PACK: dict[str, Callable[[Sequence[Any]], dict[str, Any]]] = {PROFILES: pack, TOTALS: pack_totals}
UNPACK: dict[str, Callable[[Mapping[str, Any]], list[Any]]] = {PROFILES: unpack, TOTALS: unpack_totals}


def save_measured(path: Path, settings: Mapping[str, Any], measured: Sequence[Any]) -> None:
    """Keep what was `measured` with `settings` in the file `path`."""
    write_json(path, {**settings, settings["way"]: PACK[settings["way"]](measured)})


def _read(path: str | Path) -> tuple[dict[str, Any], list[Any]]:
    """A file of a table, or of a stopped run, and what was measured for it."""
    value = {"way": PROFILES, **read_table(path, MeasuredFile)}
    return value, UNPACK[value["way"]](value[value["way"]])


def sources_of(path: Path) -> int:
    """How many measurements of tables are in the table or the file of a stopped run; 1 where there is none."""
    return int(read_table(path, MeasuredFile).get("sources", 1)) if path.exists() else 1


def resumed(path: Path, settings: Mapping[str, Any], designs: Sequence[Mapping[str, int]]) -> list[Any]:
    """What was measured, in the file `path`, of a stopped run or a finished table; none when there is no such file.

    Raises UserError when they are of other settings, or not of the networks `designs`, as far as those go; a merged
    table has networks of its own.
    """
    if not path.exists():
        return []
    value, measured = _read(path)
    odd = [name for name in settings if value.get(name) != settings[name]]
    joined = value.get("sources", 1) > 1  # its networks are those of several seeds
    if not (odd or joined) and any(p.widths != design for p, design in zip(measured, designs, strict=False)):
        odd = ["designs or seed"]
    if odd:
        raise UserError(f"{path}: profiles of other settings ({', '.join(odd)}); give the same ones, or delete it")
    return measured


def merged(paths: Sequence[str | Path]) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """The key, the settings and what was measured of several tables, or of stopped runs; the first of each network.

    The settings are EQUAL, and `sources`, how many measurements of tables are in it.

    Raises UserError for a file without profiles, for one whose key or settings are not the first one's, and for one
    all of whose networks are in those before it.
    """
    key, settings, measured = dict[str, Any](), dict[str, Any](), dict[tuple[int, ...], Any]()
    sources = 0
    for path in paths:
        value, found = _read(path)
        own_key, own = value["key"], {name: value[name] for name in EQUAL}
        if not measured:
            key, settings = own_key, own
        _check_equal(path, {**own_key, **own}, paths[0], {**key, **settings})
        sources += value.get("sources", 1)
        known = len(measured)
        for each in found:
            measured.setdefault(tuple(each.widths.values()), each)
        if len(measured) == known:
            raise UserError(f"{path}: all of its networks are in the tables before it; profile others with --seed")
    return key, {**settings, "sources": sources}, list(measured.values())


def _check_equal(path: str | Path, own: Mapping[str, Any], first_path: str | Path, first: Mapping[str, Any]) -> None:
    """UserError that names what differs between the key and settings of two tables."""
    name, *others = [name for name in {**first, **own} if own.get(name) != first.get(name)] or [""]
    if name:
        more = f" ({', '.join(others)} differ too)" if others else ""
        differs = f"{name} = {own.get(name)!r:.300}, but {first_path} has {first.get(name)!r:.300}{more}"
        raise UserError(f"{path}: {differs}; only tables of one network, machine and way of measuring can be merged")
