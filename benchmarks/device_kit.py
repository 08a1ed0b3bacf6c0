"""Kits on devices without this package: tables from them, and does a budget that they were asked for come true?

An engine's interpreter stands for a device: a Python with numpy and that engine, in which PyTorch must be missing. The
kit's networks are timed there, the table is made here, a latency budget is selected under it, the candidates are timed
there, and the chosen network once more, in a kit of its own. Scores are random, as in realised_speedup.py.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results
from latency_prediction import networks, quick_networks
from realised_speedup import scores_of

TARGETS = {"miss": 0.05}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--device", nargs=2, action="append", required=True, metavar=("ENGINE", "PYTHON"), help="may be given again"
    )
    parser.add_argument("--networks", nargs="+", choices=list(networks()), metavar="N", help="only these")
    parser.add_argument("--ratio", type=float, default=0.5, help="of the unpruned latency, to be kept")
    parser.add_argument("--designs", type=int, default=24, help="networks of the table's kit")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "device_kit", metavar="D")
    parser.add_argument("--quick", action="store_true", help="small networks, results not written")
    return parser.parse_args()


class Device:
    """Another environment on this machine: `python`, which has `engine` and no PyTorch."""

    def __init__(self, engine: str, python: str) -> None:
        self.engine, self.python = engine, python
        if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
            raise SystemExit(f"--device {engine}: its Python has PyTorch, so that it shows nothing; give one without")
        listed = subprocess.run(
            [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
        )
        self.packages = sorted(set(listed.stdout.split()))

    def times(self, kit: Path) -> Path:
        """What measure_kit.py leaves of `kit`; a stopped one goes on."""
        subprocess.run([self.python, kit / "measure_kit.py", "--engine", self.engine], check=True)
        return kit / "measured.json"


def row_of(name: str, setting: tuple[str, dict[str, Any], int], device: Device, args: Any) -> dict[str, Any]:
    """One network on one device, from the kit to the chosen network's own time."""
    from compress.costs import macs
    from compress.measure import TableConfig
    from compress.measure.kit.reading import read_measured, table_of_kit
    from compress.measure.kit.writing import write_kit, write_table_kit
    from compress.pipeline.latency_kit import candidates, closest
    from compress.pruning import Budget, Priced, SelectConfig, plan_for
    from compress.spaces import make_space, sizes

    kind, arch, side = setting
    space, size = make_space(kind, arch), (3, side, side)
    folder = args.work_dir / device.engine / name
    config = TableConfig(designs=args.designs)
    if not (folder / "kit").exists():
        write_table_kit(space, folder / "kit", input_size=size, config=config)
    started = time.perf_counter()
    table = table_of_kit(space, folder / "table.json", device.times(folder / "kit"), input_size=size)
    seconds = time.perf_counter() - started
    scores = scores_of(space)

    def select(priced: Priced) -> Any:
        budget = Budget("latency_ratio", args.ratio)
        return plan_for(space, scores, budget, SelectConfig(), input_size=size, priced=priced)

    def timed(plans: list[Any], stem: str) -> list[float]:
        """Their latency ratios on the device."""
        designs, kit = [plan.widths for plan in plans], folder / stem
        if not kit.exists():
            write_kit(space, kit, "plans", designs, input_size=size, config=TableConfig(multiple=1))
        return read_measured(device.times(kit), space, size).ratios(designs)

    found = candidates(select, Priced(table))
    chosen = closest(found, timed([plan for plan, _ in found], "choice"), print)
    path = chosen.record["latency"]["path"]
    again = timed([chosen], "again")[0]
    operators = space.operators(size)
    return {
        "network": name,
        "engine": device.engine,
        "designs": args.designs,
        "table, seconds": round(seconds, 1),
        "held-out median": table.record["residual"]["median"],
        "asked": args.ratio,
        "predicted": round(path[0]["predicted"], 4),
        "measured": round(path[0]["measured"], 4),
        "chosen of": len(path),
        "chosen": round(min(path, key=lambda step: _distance(step["measured"], args.ratio))["measured"], 4),
        "again": round(again, 4),
        "miss": round(again / args.ratio - 1, 4),
        "macs_ratio": round(macs(operators, chosen.widths) / macs(operators, sizes(space.groups)), 4),
    }


def _distance(measured: float, limit: float) -> tuple[bool, float]:
    return measured > limit, abs(measured - limit)


def main(args: argparse.Namespace) -> None:
    import tempfile

    import torch

    torch.set_num_threads(1)
    settings = quick_networks() if args.quick else networks()
    devices = [Device(engine, python) for engine, python in args.device]
    with tempfile.TemporaryDirectory() as nowhere:
        if args.quick:
            args.work_dir, args.designs = Path(nowhere), 10
        names = args.networks if args.networks and not args.quick else list(settings)
        rows = [row_of(name, settings[name], device, args) for device in devices for name in names]
    print_rows("Kits: a table from another environment, and its budget timed there again", rows)
    if not args.quick:
        packages = {device.engine: device.packages for device in devices}
        print(save_results("device_kit", rows, targets=TARGETS, packages=packages))


if __name__ == "__main__":
    main(parse())
