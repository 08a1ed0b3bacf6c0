"""The page of a topology search, from the files of its folder alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict

from ..plan import Genotype, read_stored
from ..plan.files import write_text
from ..plan.kinds import EXTRA, Count, Milliseconds, Name, Percent, Ratio, Seconds, Share, Text, Versions
from ..plan.paths import inside
from ..plan.run_files import RecordFile, SearchInfo
from ..plan.stored import Rule
from ..report import curves, read_metrics, wording
from ..report.genotype import draw_genotype
from ..report.markup import definitions, document, note, section, tile
from .discretise import load_edge_scores
from .edge_tables import edge_table
from .latency import GenotypeText

AGAIN = "run the report stage again"
FILES = ("summary.json", "genotype.json", "scores.safetensors", "metrics.jsonl", "recipe.json")
CURVES = {
    "true_top1": "True accuracy of the present cell, %",
    "true_rank": "Rank of the present cell among all",
    "skip_share": "Share of skip connections",
    "pool_share": "Share of pooling",
}


def _summary_fault(summary: Mapping[str, Any]) -> str | None:
    if ("true_top1" in summary) != ("true_rank" in summary):
        return "true_top1 and true_rank belong together"
    text = Genotype.parse(summary["genotype"])
    return None if text.space == summary["space"] else "genotype: is of another space"


class PredictedLatency(TypedDict):
    """What a table says of the network of the cells, over that of its reference cells."""

    ms: Milliseconds
    ratio: Ratio
    reference_network_ms: Milliseconds
    reference: Text
    device: Text
    backend: Name


class TopologySummary(TypedDict):
    """summary.json of a topology search."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    format: int
    recipe: Text
    space: Name
    dataset: Name
    genotype: GenotypeText
    params: Count
    macs: Count
    skip_share: Share
    pool_share: Share
    true_top1: NotRequired[Percent]
    true_rank: NotRequired[Count]
    predicted_latency: NotRequired[PredictedLatency]
    target: NotRequired[dict[Name, Any]]
    search: SearchInfo
    seconds: dict[Name, Seconds]
    seed: int
    versions: Versions
    device: Text


SummaryFile = Annotated[TopologySummary, Rule(_summary_fault)]


def write_topology_report(folder: str | Path) -> Path:
    """Write report.html, and genotype.svg, from the files of the folder of a topology search; returns the page's path.

    Raises UserError for a file that is missing, damaged, or a link out of the folder.
    """
    folder = Path(folder)
    for name in FILES:
        inside(folder, name, source=folder / name)
    summary = read_stored(folder / "summary.json", SummaryFile, version=1, remedy=AGAIN)
    genotype = Genotype.load(folder / "genotype.json")
    parts = [
        _header(summary),
        _tiles(summary),
        _cells(genotype),
        _curves(folder / "metrics.jsonl"),
        _weights(genotype, load_edge_scores(folder / "scores.safetensors", genotype.cell_space)),
        _provenance(summary, read_stored(folder / "recipe.json", RecordFile, remedy=AGAIN)),
    ]
    write_text(folder / "genotype.svg", draw_genotype(genotype))
    page = folder / "report.html"
    title = f"{summary['space']} cells on {summary['dataset']}: compress report"
    write_text(page, document(title, parts, foot="Written by compress from the files of this run folder alone."))
    return page


def _header(summary: Any) -> str:
    facts = [f"searched by {summary['search']['type']}", f"seed {summary['seed']}", f"for {_target(summary)}"]
    if "true_top1" in summary:
        lead = f"The cell's true accuracy is {summary['true_top1']:.2f} %, rank {summary['true_rank']:,} of its space."
    else:
        lead = "The cell that the search ended with; retrain it to learn its accuracy."
    return (
        f'<header><p class="overline">{escape(summary["recipe"])}</p><h1>{escape(summary["space"])} cells <span>on'
        f'</span> {escape(summary["dataset"])}</h1><p class="lead">{escape(lead)}</p>'
        f'<p class="facts">{" &middot; ".join(escape(fact) for fact in facts)}</p></header>'
    )


def _target(summary: Any) -> str:
    target = dict(summary.get("target", {}))
    kind = str(target.pop("type", "its network"))
    return kind + (f" ({', '.join(f'{key} {value}' for key, value in target.items())})" if target else "")


def _tiles(summary: Any) -> str:
    cells = [
        tile("Parameters", *_split(summary["params"]), escape(_target(summary))),
        tile("MACs", *_split(summary["macs"]), "one multiply-add is one MAC"),
        tile("Skip connections", f"{100 * summary['skip_share']:.0f}", "%", "of the edges"),
        tile("Pooling", f"{100 * summary['pool_share']:.0f}", "%", "of the edges"),
    ]
    if "true_top1" in summary:
        cells.append(tile("True accuracy", f"{summary['true_top1']:.2f}", "%", f"rank {summary['true_rank']:,}"))
    if "predicted_latency" in summary:
        cells.append(_latency(summary["predicted_latency"]))
    return f'<div class="tiles">{"".join(cells)}</div>'


def _latency(found: Any) -> str:
    number, _, unit = wording.milliseconds(found["ms"]).partition(" ")
    whole = wording.milliseconds(found["reference_network_ms"])
    text = f"{found['ratio']:.3f} of the reference network's {whole}, {wording.backend(found['backend'])} on "
    return tile("Predicted latency", number, unit, escape(text + found["device"]))


def _split(value: float) -> tuple[str, str]:
    number, _, unit = wording.short_count(value).partition(" ")
    return number, unit


def _cells(genotype: Genotype) -> str:
    words = "Inputs on the left, the output on the right; a label stands where an edge leaves its state."
    text = f"<details><summary>As text</summary><pre>{escape(genotype.text)}</pre></details>"
    return section("Cells", f'<div class="wide">{draw_genotype(genotype)}</div>{note(words)}{text}')


def _curves(path: Path) -> str:
    if not path.exists():
        return ""
    # Weights that add up to one have one mean.
    rows = [{key: value for key, value in row.items() if key != "mean_abs_score"} for row in read_metrics(path)]
    panels = curves.figures(rows, top1_before=None)
    panels += [
        curves.panel_of(rows, stage="search", key=key, title=title, zero="share" in key)
        for key, title in CURVES.items()
    ]
    shown = "".join(panel for panel in panels if panel)
    return section("Search", f'<div class="panels">{shown}</div>{note("One point per epoch.")}')


def _weights(genotype: Genotype, scores: Mapping[str, Any]) -> str:
    """The weight of every operation on every edge, the chosen ones in bold."""
    chosen = {(cell, source, node): name for cell, node, name, source in genotype.edges}
    space = genotype.cell_space
    tables = []
    for cell in space.cells:
        rows = []
        for i, (source, node) in enumerate(space.edges):
            own, row = chosen.get((cell, source, node)), scores[f"{cell}.{i}"].tolist()
            rows.append([_weight(value, name == own) for name, value in zip(space.operations, row, strict=True)])
        tables.append(edge_table(space, cell, rows))
    return section("Weights of the operations", "".join(tables))


def _weight(value: float, chosen: bool) -> str:
    return f"<b>{value:.3f}</b>" if chosen else f"{value:.3f}"


def _provenance(summary: Any, record: Any) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    facts = {
        "recipe": summary["recipe"],
        "search method": summary["search"]["type"],
        "seed": summary["seed"],
        "device": summary["device"],
        "versions": versions,
        "time": wording.seconds(sum(summary["seconds"].values())),
    }
    text = escape(json.dumps(record, indent=2))
    recipe = f"<details><summary>The resolved recipe</summary><pre>{text}</pre></details>"
    return section("How it was made", f"{definitions(facts)}{recipe}")
