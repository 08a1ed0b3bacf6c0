"""Search the topology of a network's cells; the work dir holds the genotype to retrain."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .parser import Parser, recipe_argument, training_arguments

STAGES = ("search", "discretise", "report")


def add_arguments(parser: Parser) -> None:
    recipe_argument(parser)
    parser.add_argument("--work-dir", metavar="D", help="folder of this run (default: runs/ and the recipe's name)")
    parser.add_argument("--stage", choices=STAGES, help="run this stage only; earlier ones must be finished")
    parser.add_argument(
        "--trust-benchmark", action="store_true", help="unpickle the files of bench.file, a folder: they may run code"
    )
    training_arguments(parser, override="search.epochs=4", checkpoint=False)


def main(args: Namespace) -> None:
    from ..pipeline.recipe import load_recipe_of
    from ..plan import Genotype
    from ..plan.launchers import first_process
    from ..report.progress import TerminalProgress
    from ..topology.recipe import TopologyRecipe
    from ..topology.run import search_topology

    first = first_process(args.launcher)
    recipe = load_recipe_of(TopologyRecipe, args.recipe, args.cfg_options)
    with TerminalProgress(quiet=not first) as progress:
        folder = search_topology(
            recipe,
            args.work_dir or Path("runs") / recipe.name,
            progress=progress,
            trust=args.trust_benchmark,
            stage=args.stage,
            resume=args.resume,
            launcher=args.launcher,
            dist_timeout=args.dist_timeout,
        )
    if first and (folder / "genotype.json").exists():
        print(Genotype.load(folder / "genotype.json").text)
        if (folder / "report.html").exists():
            print(f"Report: {folder / 'report.html'}")
