"""The stages of a topology search; they read and write files of the run's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from mmengine.dist import is_main_process

from ..costs import count_macs, count_params
from ..engine.searching import search
from ..pipeline.folder import NOT_OURS
from ..pipeline.folder import STAGES as RECORDED
from ..pipeline.stage import Figures, Stage, in_order
from ..plan import Genotype, save_scores, write_json
from ..plan.stored import check_stored
from ..spaces.shapes import weightless
from .discretise import load_edge_scores

if TYPE_CHECKING:
    from .run import TopologyContext

SCORES, GENOTYPE, SUMMARY = "scores.safetensors", "genotype.json", "summary.json"
PRICED = {"search", "discretise"}
"""The stages that read the latency table, where there is one."""


def run_search(c: TopologyContext, figures: Figures) -> None:
    """Data -> scores.safetensors: the weight of every operation on every edge."""
    torch.manual_seed(c.recipe.seed)
    found = search(c.space.build(), c.space, c.task, c.recipe.search, c.job("search"), evaluate=c.watch)
    figures.update(info=found.info)
    if is_main_process():
        save_scores(c.folder / SCORES, found.scores)


def run_discretise(c: TopologyContext, figures: Figures) -> None:
    """scores -> genotype.json, with what its network costs, which has no weights here, however large it is."""
    genotype = c.discretised(load_edge_scores(c.folder / SCORES, c.space.cells))
    genotype.save(c.folder / GENOTYPE)
    space = c.target(genotype)
    with weightless():
        network = space.build()
    figures.update(
        genotype=genotype.text,
        params=count_params(network),
        macs=count_macs(network, c.task.input_size),
        **c.judged(genotype),
        **c.predicted(genotype),
    )


def report(c: TopologyContext, figures: Figures) -> None:
    """Everything -> summary.json, genotype.svg, report.html; UserError where stages.json is damaged."""
    from .report import SummaryFile, write_topology_report

    genotype, stages = Genotype.load(c.folder / GENOTYPE), c.folder.stages
    found = {k: v for k, v in stages["discretise"].items() if k not in ("seconds", "finished")}
    search_info = stages["search"].get("info", {})
    summary = {
        **c.summary(),
        "space": genotype.space,
        "dataset": c.data.name,
        "evaluated_on": c.data.evaluated_on,
        "target": {"type": c.recipe.target_type, **c.recipe.target},
        "search": {"method": search_info.get("type"), **search_info},
        **found,
    }
    check_stored(summary, SummaryFile, source=str(c.folder / RECORDED), remedy=NOT_OURS)
    write_json(c.folder / SUMMARY, summary)
    write_topology_report(c.folder.path)


STAGES: dict[str, Stage[TopologyContext]] = in_order(
    Stage("search", run_search, (), (SCORES,), parallel=True),
    Stage("discretise", run_discretise, (SCORES,), (GENOTYPE,)),
    Stage("report", report, (GENOTYPE,), (SUMMARY, "genotype.svg", "report.html")),
)
