"""How the files of topology searches, tables of cells and networks of genotypes are read, for the trust walk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cell_tables import made_up_table
from trust_cases import with_payloads
from trust_readers import PREPROCESSING, cards, check, check_page, metrics, recipes, reports, tensors

import compress
from compress.plan import NATS, Genotype
from compress.report.genotype import draw_genotype
from compress.spaces import Card, save_model
from compress.topology.discretise import discretise, load_edge_scores
from compress.topology.latency import CellTable
from compress.topology.latency_page import write_cell_page
from compress.topology.report import write_topology_report
from compress.topology.space import DartsCellsSpace, NatsCellsSpace


def cell_reports(run: Path, secret: Path, most: int | None) -> None:
    names = ("summary.json", "recipe.json", "genotype.json")
    reports(run, secret, most, names=names, write=write_topology_report)


def cell_metrics(run: Path, secret: Path, most: int | None) -> None:
    metrics(run, secret, most, write=write_topology_report)


def cell_scores(run: Path, secret: Path, most: int | None) -> None:
    tensors(run, secret, most, loads={"scores": lambda file: discretise(load_edge_scores(file, NATS), NATS)})


def cell_recipes(run: Path, secret: Path, most: int | None) -> None:
    recipes(run, secret, most)


def genotypes(run: Path, secret: Path, most: int | None) -> None:
    """As `--genotype` and `nncompress draw` read them."""
    file = run / "genotype.json"

    def read(case: Any) -> None:
        file.write_text(json.dumps(case))
        (run / "drawing.html").write_text(draw_genotype(Genotype.named(str(run))))
        check_page(run / "drawing.html")

    check("genotype.json", with_payloads(json.loads(file.read_text()), secret), read, most)


def cell_tables(folder: Path, secret: Path, most: int | None) -> None:
    file = folder / "cells.json"
    made_up_table(NATS).save(file)

    def read(case: Any) -> None:
        file.write_text(json.dumps(case))
        CellTable.load(file)
        check_page(write_cell_page(file))

    check("latency table of cells", with_payloads(json.loads(file.read_text()), secret), read, most)


def cell_cards(folder: Path, secret: Path, most: int | None) -> None:
    for space in (DartsCellsSpace(2, channels=2, layers=3), NatsCellsSpace(2, channels=2, layers=1)):
        own = folder / space.name
        own.mkdir()
        save_model(own / "model", space.build(), Card(space.name, space.arch, ("a", "b"), PREPROCESSING))
        compress.load(own)
        cards(own, secret, most, added=True)
