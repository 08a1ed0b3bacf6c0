"""The stored JSON files of topology searches and tables of cells, whole, with the readers that they have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from cell_runs import CELLS_RECIPE, cell_options
from cell_tables import SIZE, made_up_table, nats
from stored_kinds import Kind, card_kinds, naming

from compress.pipeline.folder import RunFolder
from compress.pipeline.recipe import load_recipe_of
from compress.plan import NATS, Genotype
from compress.report.genotype import draw_genotype
from compress.report.progress import TerminalProgress
from compress.spaces import make_space
from compress.topology.edge_latency import edge_costs
from compress.topology.latency import REFERENCES, open_cells
from compress.topology.latency_page import write_cell_page
from compress.topology.profile import _resumed
from compress.topology.published import DARTS_V2, NATS_LARGEST
from compress.topology.recipe import TopologyRecipe
from compress.topology.report import write_topology_report
from compress.topology.run import TopologyContext
from compress.topology.stages import report

PREDICTED = {"ms": 1.5, "ratio": 0.75, "reference_network_ms": 2.0, "device": "CPU", "backend": "onnxruntime"}
ARCHES = {
    "darts_cells": {"num_classes": 10, "channels": 4, "layers": 3, "genotype": DARTS_V2.text, "stem": "cifar"},
    "nats_cells": {"num_classes": 10, "channels": 4, "layers": 1, "genotype": NATS_LARGEST.text},
}


def become_richer(run: Path) -> None:
    """What only searches with a table of true accuracies, or one of latencies, say in their summary."""
    summary = json.loads((run / "summary.json").read_text())
    predicted = {**PREDICTED, "reference": NATS_LARGEST.text}
    summary |= {"true_top1": 93.5, "true_rank": 700, "predicted_latency": predicted}
    (run / "summary.json").write_text(json.dumps(summary))


def cell_kinds(finished: Path, card: dict, folder: Path) -> dict[str, Kind]:
    """All kinds, in copies of the search `finished` under `folder`; `card` is a model card of another network."""
    run = folder / "cells"
    shutil.copytree(finished, run)
    become_richer(run)
    readers: dict[str, Callable[[], object]] = {
        "genotype": lambda: draw_genotype(Genotype.named(str(run))),
        "recipe": lambda: RunFolder.recorded_as("topology", run),
        "stages": _stages(run),
        "summary": lambda: None,
    }

    def reading(read: Callable[[], object]) -> Callable[[], None]:
        def both() -> None:
            read()
            assert "nan" not in write_topology_report(run).read_text().lower()

        return both

    found = {}
    for name, read in readers.items():
        file = run / f"{name}.json"
        found[f"cells: {name}"] = Kind(file, json.loads(file.read_text()), reading(read))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    known = [{**row, "true_top1": 93.5, "true_rank": 700} for row in rows]
    found["cells: metrics"] = Kind(run / "metrics.jsonl", known, reading(lambda: None))
    return found | _cards(folder, card) | _tables(folder)


def _stages(run: Path) -> Callable[[], object]:
    """The stage that reads what earlier ones recorded, where these have finished."""
    recipe = load_recipe_of(TopologyRecipe, CELLS_RECIPE, cell_options(search__epochs=2)[1:])
    context = TopologyContext(recipe, TerminalProgress(quiet=True), resume=True)
    context.folder = RunFolder(run)

    def read() -> None:
        if {"search", "discretise"} <= {*context.folder.stages}:
            report(context, {})

    return read


def _cards(folder: Path, card: dict) -> dict[str, Kind]:
    """Cards of networks of genotypes; the weights are not there, so the space is built alone."""
    arches = {}
    for name, arch in ARCHES.items():
        space = make_space(name, arch)
        group = space.groups[0]
        arches[name] = space.with_widths({group.name: group.size // 2}).arch
    return card_kinds(folder, card, arches)


def _tables(folder: Path) -> dict[str, Kind]:
    """A latency table of cells with its networks, and those of a stopped measurement."""
    file, kept_file = folder / "cells.json", folder / "cells.designs.json"
    table = made_up_table(NATS)
    table.save(file)
    supernet = make_space("nats_supernet", {"channels": 4, "layers": 1})
    designs = [{key: each[key] for key in each if key != "held_out"} for each in table.record["designs"]]
    settings = {"format": 1, "key": dict(table.key), "cells": "nats", "rounds": 9}
    wanted = [Genotype.parse(each["genotype"]) for each in designs]

    def read() -> None:
        with naming(file):
            found = open_cells(file, nats(REFERENCES["nats"]), SIZE)
            assert found.predict(REFERENCES["nats"]).ratio >= 0
            edge_costs(str(file), supernet, SIZE)
        write_cell_page(file)

    return {
        "table of cells": Kind(file, json.loads(file.read_text()), read),
        "kept networks of cells": Kind(
            kept_file, {**settings, "designs": designs}, lambda: _resumed(kept_file, settings, wanted)
        ),
    }
