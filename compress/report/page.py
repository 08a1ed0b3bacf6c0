"""One self-contained HTML page per run: no script, no external resource, nothing to install to read it."""

from __future__ import annotations

from pathlib import Path

from ..plan.files import write_text
from ..plan.paths import inside
from . import complexity, detections, latency, next_steps, sections
from .markup import document
from .run_contents import WRITERS, RunContents, read_run_folder

FILES = ("summary.json", "stages.json", *WRITERS)
"""What is read; none of them may be a link out of the folder, whose target the page would show."""


def write_report(run_dir: str | Path) -> Path:
    """Write `report.html` from the files of a run folder, atomically.

    Only `summary.json` is required. A part whose file is missing (`plan.json`, `scores.safetensors`,
    `complexity.json`, `metrics.jsonl`, `latency.json`, `parity.json`, `recipe.json`) is replaced by one sentence that
    says which stage writes it. The same files in a folder of the same name give the same page, byte for byte: its
    commands name the folder as `run_dir` does.

    Args:
        run_dir: the run folder; its formats and units are those of docs/formats.md.

    Returns:
        The path of the page.

    Raises:
        UserError: `summary.json` is missing or incomplete, a file is damaged or a link out of the folder, or scores and
            plan disagree.

    Example::

        page = write_report("runs/digits")
        print(page)  # runs/digits/report.html
        webbrowser.open(page.resolve().as_uri())
    """
    for name in FILES:
        inside(run_dir, name, source=Path(run_dir) / name)
    run = read_run_folder(run_dir)
    target = run.path / "report.html"
    write_text(target, _page(run))
    return target


def _page(run: RunContents) -> str:
    title = f"{run.summary['model']} on {run.summary['dataset']}: compress report"
    parts = (
        sections.header,
        sections.tiles,
        sections.comparison,
        next_steps.next_steps,
        detections.predictions,
        detections.categories,
        latency.latency,
        complexity.complexity,
        sections.stages,
        sections.rounds,
        sections.training,
        sections.blocks,
        sections.layers,
        sections.scores,
        sections.provenance,
    )
    foot = "Written by compress from the files of this run folder alone."
    return document(title, [part(run) for part in parts], foot=foot)
