"""Parameters and MACs by formula and counted, side by side: per kind of layer, and layer by layer."""

from __future__ import annotations

from html import escape
from typing import Any

from . import wording
from .markup import absent, note, section, table
from .rows import BACKBONE, is_detector
from .run_contents import RunContents

COSTS = {"macs": "MACs", "params": "Parameters"}
PARTS = {
    "attention_projections": ("Attention: projections", "layers"),
    "attention_products": ("Attention: products", "blocks"),
    "mlp": ("MLP", "layers"),
    "layers": ("Patch embedding, merging, other layers", "layers"),
    "norms": ("Norms", "layers"),
    "classifier": ("Classifier", "layers"),
    "parameters": ("Other parameters", "tensors"),
    "heads": ("Neck and heads", "tensors"),
}
"""Part of an operator -> its name and what its operators are called together."""

PLAIN = {"layers": ("Convolutions and other layers", "layers")}
"""What is different in networks without attention."""

NAMED = 4
"""Up to so many operators of a part are listed by name."""

COUNTING = (
    "By formula: the operators of the search space at the widths of the plan, as the selection reckons. Counted: on "
    "the networks before and after slicing, one image of {shape}, by PyTorch's FLOP counter (two FLOPs are one MAC). "
    "A run stops where the two differ. Norms, activations and the softmax count no MACs."
)
ATTENTION = (
    "With n tokens of width d in windows of M² tokens (M² = n without windows), a share p of a head's dimensions kept "
    "and a share q of the d_m hidden units, a block spends 4·p·n·d² MACs on projections, 2·p·n·M²·d on products and "
    "2·q·n·d·d_m on the MLP; biases aside, its projections have 4·p·d² parameters and its MLP 2·q·d·d_m."
)


def complexity(run: RunContents) -> str:
    """Both costs per kind of layer, and folded away for every operator."""
    if run.complexity is None:
        return section("Complexity", absent("complexity.json"))
    shape = " \u00d7 ".join(str(side) for side in run.complexity.get("input_size", ()))
    notes = note(COUNTING.format(shape=shape) + (f" {BACKBONE}" if is_detector(run.summary) else ""))
    if "attention" in ((run.plan or {}).get("kinds") or {}).values():
        notes += note(ATTENTION)
    return section("Complexity", "".join(_cost(run.complexity, cost) for cost in COSTS) + notes)


def _cost(found: dict[str, Any], cost: str) -> str:
    """The tables of one cost; what has none of it is left out."""
    operators = [row for row in found["operators"] if any(_cells(row[cost]))]
    by_part = {part: [row for row in operators if _part_of(row, found) == part] for part in PARTS}
    names = PARTS if any(row["part"] == "attention_products" for row in found["operators"]) else PARTS | PLAIN
    parts = "".join(_part(part, *names[part], rows, cost) for part, rows in by_part.items() if rows)
    layers = "".join(
        _row(f"{cost}/{row['name']}", f"{_name(row['name'])} <i>{escape(row['kind'])}</i>", _cells(row[cost]))
        for row in operators
    )
    total = _row(f"{cost}:total", "total", _cells(found[cost]))
    digits = max(len(wording.count(value)) for value in _cells(found[cost]))
    return (
        f"<h3>{COSTS[cost]}</h3>{_table(parts, digits=digits, foot=total)}"
        f"<details><summary>{COSTS[cost]} of all {len(operators)} operators</summary>"
        f"{_table(layers, digits=digits, kind='operators')}</details>"
    )


def _part_of(row: dict[str, Any], found: dict[str, Any]) -> str:
    """The part of an operator; of a detector's parameters, those behind the backbone make a part of their own."""
    in_backbone = [other["name"].startswith("backbone.") for other in (row, found["operators"][0])]
    return "heads" if row["part"] == "parameters" and in_backbone == [False, True] else str(row["part"])


def _part(part: str, label: str, plural: str, rows: list[dict[str, Any]], cost: str) -> str:
    text = ", ".join(_name(row["name"]) for row in rows) if len(rows) <= NAMED else f"{len(rows)} {plural}"
    cells = [sum(column) for column in zip(*(_cells(row[cost]) for row in rows), strict=True)]
    return _row(f"{cost}:{part}", f"{escape(label)}<small>{text}</small>", cells)


def _cells(costs: dict[str, dict[str, int]]) -> list[int]:
    """Before by formula and counted, after by formula and counted."""
    return [costs[side][source] for side in ("before", "after") for source in ("formula", "counted")]


def _row(key: str, label: str, cells: list[int]) -> str:
    before, after = cells[0], cells[2]
    ratio = wording.digits(after / before) if before else wording.DASH
    tds = "".join(f"<td>{wording.count(value)}</td>" for value in cells)
    data = f'data-key="{escape(key)}" data-before="{before:d}" data-after="{after:d}"'
    return f'<tr {data}><th scope="row">{label}</th>{tds}<td>{ratio}</td></tr>'


def _table(rows: str, *, digits: int, foot: str = "", kind: str = "") -> str:
    sides = "".join(f'<th scope="colgroup" colspan="2"><span>{side}</span></th>' for side in ("before", "after"))
    sources = '<th scope="col">formula</th><th scope="col">counted</th>' * 2
    head = f'<tr><td></td>{sides}<td></td></tr><tr><td></td>{sources}<th scope="col">after / before</th></tr>'
    return table(f"complexity {kind}".rstrip(), head, rows, columns=5, foot=foot, digits=digits)


def _name(name: str) -> str:
    """A module's name that may break behind its dots."""
    return escape(name).replace(".", ".<wbr>")
