"""The parts of a detector's page: predictions before and after side by side, and the AP of every category."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import Any

from ..plan.paths import inside
from . import wording
from .markup import absent, note, section
from .rows import ACCURACIES, is_detector, split
from .run_contents import RunContents

SIDES = ("before", "after")


def predictions(run: RunContents) -> str:
    """What the unpruned and the pruned network find in a few images; nothing for classifiers."""
    title = "Predictions before and after"
    if run.predictions is None:
        return section(title, absent("predictions.json")) if is_detector(run.summary) else ""
    found = run.predictions
    trained_on = sum(bool(image.get("training")) for image in found["images"])
    more = f" and {_number(trained_on, 'training image')}" if trained_on else ""
    shown = _number(len(found["images"]) - trained_on, "image")
    text = (
        f"Detections with a score above {found['threshold']:g} on {shown} of the {split(run.summary)}{more}, evenly "
        "chosen. Correct: of an annotated object's class, and overlapping it with an IoU above "
        f"{found['iou']:g}; in the same way detections before and after coincide."
    )
    return section(title, note(text) + "".join(_image(run.path, image) for image in found["images"]))


def _image(folder: Path, image: dict[str, Any]) -> str:
    """One image twice, with what was found in it."""
    objects = _number(image["objects"], "annotated object")
    coincide = ""
    if any(image[side]["detections"] for side in SIDES):
        n = image["coincide"]
        coincide = f" &middot; {_number(n, 'detection')} {'coincides' if n == 1 else 'coincide'}"
    figures = []
    for side in SIDES:
        shown = image[side]
        text = f"{_number(shown['detections'], 'detection')}, {shown['correct']:d} correct"
        file = inside(folder, shown["file"], source=folder / "predictions.json")
        picture = _picture(file, f"{image['image']} {side}: {text}")
        figures.append(f"<figure>{picture}<figcaption><b>{side}</b> &middot; {escape(text)}</figcaption></figure>")
    of = " &middot; training image" if image.get("training") else ""
    head = f"<p><b>{escape(image['image'])}</b>{of} &middot; {objects}{coincide}</p>"
    return f'<div class="pictures">{head}{"".join(figures)}</div>'


def _picture(path: Path, text: str) -> str:
    """The picture itself within the page, or a sentence where its file is gone."""
    if not path.is_file():
        return f'<p class="absent">{escape(path.name)} is no longer in this run folder.</p>'
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/jpeg;base64,{content}" alt="{escape(text)}">'


def categories(run: RunContents) -> str:
    """The AP of every category, folded away; nothing for classifiers."""
    title = "AP of every category"
    if run.categories is None:
        return section(title, absent("categories.json")) if is_detector(run.summary) else ""
    rows = run.categories["categories"]
    kinds = [key for key in ("bbox_mAP", "segm_mAP") if rows and key in rows[0]]
    table = (
        f'<div class="wide"><table class="categories"><thead>{_head(kinds)}</thead>'
        f"<tbody>{''.join(_row(row, kinds) for row in rows)}</tbody></table></div>"
    )
    n_images = _number(run.categories["images"], "image")
    shown = f"<details><summary>AP of all {len(rows)} categories on {n_images}</summary>{table}</details>"
    return section(title, note(_overview(rows)) + shown)


def _overview(rows: list[dict[str, Any]]) -> str:
    """How many categories gained and lost, and which lost and gained most, in words."""
    changes = {row["name"]: _change(row["bbox_mAP"]) for row in rows if row["bbox_mAP"]["before"] is not None}
    gained = {name: change for name, change in changes.items() if change > 0}
    lost = {name: change for name, change in changes.items() if change < 0}
    text = f"Box AP rose in {len(gained)} of {_number(len(changes), 'category', 'categories')} with objects, "
    text += f"fell in {len(lost)} and stayed in {len(changes) - len(gained) - len(lost)}."
    for label, part in (("Most lost", lost), ("Most gained", gained)):
        if part:
            most = sorted(part.items(), key=lambda item: -abs(item[1]))[:3]
            text += f" {label}: " + ", ".join(f"{name} {wording.points(change)}" for name, change in most) + "."
    return text + " Few objects make a category's AP jump: mind their number."


def _head(kinds: list[str]) -> str:
    groups = "".join(f'<th scope="colgroup" colspan="3"><span>{ACCURACIES[kind]}, %</span></th>' for kind in kinds)
    sides = '<th scope="col">before</th><th scope="col">after</th><th scope="col">change</th>' * len(kinds)
    return (
        f'<tr><td></td><td></td>{groups}</tr><tr><th scope="col">category</th><th scope="col">objects</th>{sides}</tr>'
    )


def _row(row: dict[str, Any], kinds: list[str]) -> str:
    cells = "".join(_cells(row[kind]) for kind in kinds)
    name = escape(row["name"])
    return f'<tr data-category="{name}"><th scope="row">{name}</th><td>{wording.count(row["objects"])}</td>{cells}</tr>'


def _cells(pair: dict[str, float | None]) -> str:
    """Before, after and change; dashes for a category without an object."""
    if pair["before"] is None:
        return f"<td>{wording.DASH}</td>" * 3
    values = "".join(f"<td>{pair[side]:.2f}</td>" for side in SIDES)
    change = _change(pair)
    sign = "+" if change > 0 else wording.MINUS
    return f"{values}<td>{f'<b>{sign}{abs(change):.2f}</b>' if change else '0.00'}</td>"


def _change(pair: dict[str, Any]) -> float:
    """Change in points as it is shown, to the second decimal."""
    return float(round(pair["after"] - pair["before"], 2))


def _number(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
