"""A front, and beside it torch-pruning's magnitude at the same budgets, with the same fine-tuning.

`nncompress front RECIPE --checkpoint F ...` in one command, then for each of its points torch-pruning cuts the same
unpruned network: to the latency that the point was asked for, measured in turn with the unpruned network, or to its
MACs. The networks go into rivals.json and onto the front's page. Where torch-pruning cannot cut the network, that is
said. Both go on where they were stopped. Arguments behind RECIPE are those of `nncompress front`.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import _harness  # noqa: F401  (the checkout's library, whatever is installed)
from _torch_pruning import at_latency, at_macs, cutter

NAME = "torch-pruning, magnitude"


class Rivals:
    """What is cut for one front: its baseline, data and settings."""

    def __init__(self, folder: Path, recipe: Any, front: dict[str, Any], progress: Any) -> None:
        from compress.pipeline.folder import RunFolder
        from compress.pipeline.images import make_context
        from compress.spaces import load_model

        self.folder, self.front = folder, front
        self.context = make_context(recipe, progress, resume=True)
        self.context.folder = RunFolder(folder / "rivals")
        self.network, self.space, self.card = load_model(folder / "baseline")
        self.size = self.card.input_size

    def row(self, point: dict[str, Any]) -> dict[str, Any]:
        """The rival of `point`: cut, fine-tuned, judged and timed."""
        import torch

        from compress.costs import count_macs, count_params
        from compress.plan import WidthPlan

        plan = WidthPlan.load(self.folder / point["name"] / "plan.json")
        cut = cutter(
            self.network,
            {},
            size=self.size,
            classes=len(self.card.classes),
            ignored=[],
            round_to=plan.record["select"]["round_to"],
        )
        kind, value = point["budget"]["kind"], point["budget"]["value"]
        backend = self.front["backend"]
        torch.manual_seed(self.context.recipe.seed)
        if kind.startswith("latency"):
            share = value if kind == "latency_ratio" else value / self.front["unpruned"]["latency_ms"][backend]
            macs, _ = at_latency(
                lambda macs: at_macs(cut, macs, self.size), share, lambda net: self.times(net)[backend]
            )
        else:
            macs = point["macs"] / self.front["unpruned"]["macs"]
        small = at_macs(cut, macs, self.size)
        config = self.context.recipe.finetune
        teacher = deepcopy(self.network) if config.distill is not None else None
        self.context.folder.path.joinpath(point["name"]).mkdir(parents=True, exist_ok=True)
        self.context.train(small, config, point["name"], teacher=teacher)
        ratios = self.times(small)
        figures = self.context.evaluate(small)
        return {
            "rival": NAME,
            "name": point["name"],
            "accuracy": {self.front["metric"]: figures[self.front["metric"]]},
            "params": count_params(small),
            "macs": count_macs(small, self.size),
            "latency_ratio": ratios,
            "latency_ms": {name: self.front["unpruned"]["latency_ms"][name] * ratios[name] for name in ratios},
        }

    def times(self, small: Any) -> dict[str, float]:
        """Backend -> latency over the unpruned network's, measured in turn."""
        from compress.export import export_onnx
        from compress.measure import measure_latency
        from compress.plan import scratch

        with scratch() as place:
            for name, network in (("baseline", self.network), ("model", small)):
                export_onnx(deepcopy(network).cpu().eval(), place / f"{name}.onnx", input_size=self.size)
            found = measure_latency(
                self.network.eval(),
                small.cpu().eval(),
                place / "baseline.onnx",
                place / "model.onnx",
                input_size=self.size,
                config=self.context.recipe.measure,
            )
        return {name: float(each["ratio"]["median"]) for name, each in found["backends"].items()}


def main(arguments: list[str]) -> None:
    import torch

    from compress.commands import command_parser
    from compress.commands.front import main as find
    from compress.pipeline.recipe import load_recipe
    from compress.plan import read_stored, write_json
    from compress.plan.errors import FAULTS
    from compress.plan.front_file import FORMAT, FRONT, RIVALS, FrontFile, RivalsFile
    from compress.report.front import write_front_report
    from compress.report.progress import TerminalProgress

    args = command_parser("front", program="front.py").parse_args(arguments)
    recipe = load_recipe(args.recipe, args.cfg_options)
    folder = Path(args.work_dir or Path("runs") / f"{recipe.name}_front")
    args.resume = args.resume or folder.exists()
    torch.set_num_threads(1)
    find(args)
    front = read_stored(folder / FRONT, FrontFile, version=FORMAT)
    file = folder / RIVALS
    rows = read_stored(file, RivalsFile, version=FORMAT)["points"] if file.exists() else []
    with TerminalProgress() as progress:
        rivals = Rivals(folder, recipe, front, progress)
        for point in front["points"]:
            if any(row["name"] == point["name"] for row in rows):
                continue
            try:
                rows.append(rivals.row(point))
            except FAULTS as error:  # another library's, on a network that it does not know
                print(f"{NAME} cannot make {point['name']}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            write_json(file, {"format": FORMAT, "points": rows})
    print(f"Report: {write_front_report(folder)}")


if __name__ == "__main__":
    main(sys.argv[1:])
