"""Do two versions of the code give the same numbers? Seeded short runs of every family and method, hashed.

    python tests/same_numbers.py --tree OLD --out old.json        # OLD: a checkout of the older commit
    python tests/same_numbers.py --against old.json               # this checkout, on the same machine

Hashes are of one processor and instruction set: record both on one machine. Covered: scores, plans, weights, exported
files, metrics and summaries, without what clocks wrote.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tool_runs import TINY

HERE = Path(__file__).resolve().parent
METHODS = (
    "rarts", "darts1", "darts2", "milenas1", "tas", "joint", "netslim", "rvsm", "grouplasso", "random", "magnitude",
    "taylor", "wdpruning",
)  # fmt: skip
SWIN = (
    "dict(_delete_=True, type='swin', model='swin_tiny_patch4_window7_224', input_size=32, options=dict("
    "patch_size=4, window_size=4, embed_dim=16, depths=(1, 1), num_heads=(2, 4), drop_path_rate=0.1){more})"
)
VIT = (
    "dict(_delete_=True, type='vit', model='vit_tiny_patch16_224', input_size=32, options=dict("
    "patch_size=8, embed_dim=24, depth=2, num_heads=3){more})"
)
MOBILE = "dict(_delete_=True, type='mobilenetv2', multiplier=0.25{more})"
SPACES = {
    "preresnet_inputs": "dict(score_inputs=True)",
    "mobilenetv2": MOBILE.format(more=""),
    "mobilenetv2_outputs": MOBILE.format(more=", score_outputs=True"),
    "swin": SWIN.format(more=""),
    "vit": VIT.format(more=""),
    "vtp": VIT.format(more=", scored='vtp'"),
}
VOLATILE = (
    "seconds",
    "finished",
    "latency_ms",
    "latency_ratio",
    "latency_spread",
    "drifted",
    "device",
    "versions",
    "date",
    "checkpoint",
)


def runs(scratch: Path, tree: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """(name, recipe, options) of every run; recipes are written to `scratch`."""
    base = tree / "recipes/width/preresnet20_digits_{}.py"
    # Barely trained networks magnify rounding: their exports may differ more than a trained one's.
    tiny = [f"{key}={value}" for key, value in {**TINY, "export.tolerance": 0.05}.items()]
    for method in METHODS:
        yield method, Path(str(base).format(method)), tiny
    yield "rarts_gauss_seidel", Path(str(base).format("rarts")), [*tiny, "search.method.order=gauss-seidel"]
    yield "rarts_plain_scale_u", Path(str(base).format("rarts")), [*tiny, "search.fixed_scale=True", "search.weights=u"]
    other = [text for text in tiny if not text.startswith("space.")]
    for name, space in SPACES.items():
        recipe = scratch / f"{name}.py"
        recipe.write_text(f'_base_ = [r"{str(base).format("rarts")}"]\nspace = {space}\n')
        yield name, recipe, tiny if name.startswith("preresnet") else other


def call(tree: Path, tool: str, *arguments: object) -> None:
    """Run a tool of `tree` and stop where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, str(tree / f"tools/{tool}.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


def timeless(value: Any) -> Any:
    """`value` without what clocks, versions and temporary paths wrote."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in VOLATILE}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def hashes(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of what is in it, for everything that seeds decide."""
    found = {}
    for file in sorted(folder.glob("*")):
        if file.suffix in (".safetensors", ".onnx", ".pth") or file.name == "plan.json":
            content = file.read_bytes()
        elif file.name in ("summary.json", "stages.json", "parity.json", "complexity.json", "model.json"):
            content = json.dumps(timeless(json.loads(file.read_text())), sort_keys=True).encode()
        elif file.name == "metrics.jsonl":
            rows = [timeless(json.loads(line)) for line in file.read_text().splitlines()]
            content = json.dumps(rows, sort_keys=True).encode()
        else:
            continue
        found[file.name] = hashlib.sha256(content).hexdigest()
    return found


def detector_run(tree: Path, scratch: Path) -> dict[str, str]:
    """The small detector of the tests, trained from scratch and pruned."""
    from drawn_coco import RECIPE, draw_coco, options_of, write_config

    coco = draw_coco(scratch / "coco", {"train2017": 8, "val2017": 4})
    options = ["--cfg-options", *options_of(write_config(scratch / "twin.py", coco), coco)]
    recipe = tree / RECIPE.relative_to(HERE.parent)
    call(tree, "train", recipe, "--work-dir", scratch / "det_base", *options)
    arguments = ("--checkpoint", scratch / "det_base", "--pruning-ratio", 0.3, "--work-dir", scratch / "det")
    call(tree, "prune", recipe, *arguments, *options)
    return {**{f"train/{k}": v for k, v in hashes(scratch / "det_base").items()}, **hashes(scratch / "det")}


def record(tree: Path, only: list[str], out: Path | None) -> dict[str, dict[str, str]]:
    """Run -> file -> hash; `out` is written after every run."""
    found: dict[str, dict[str, str]] = {}

    def keep(run: str, files: dict[str, str]) -> None:
        found[run] = files
        print(f"{run}: {len(files)} files", flush=True)
        if out:
            out.write_text(json.dumps(found, indent=1) + "\n")

    with tempfile.TemporaryDirectory() as name:
        scratch, bases = Path(name), {}
        for run, recipe, options in runs(scratch, tree):
            if only and run not in only:
                continue
            cfg = ["--cfg-options", *options]
            family = run if run in SPACES else "preresnet"
            if family not in bases:
                bases[family] = scratch / f"{family}_base"
                call(tree, "train", recipe, "--work-dir", bases[family], *cfg)
            work = scratch / f"run_{run}"
            call(tree, "prune", recipe, "--checkpoint", bases[family], "--macs-ratio", 0.6, "--work-dir", work, *cfg)
            keep(run, hashes(work))
        if not only or "detector" in only:
            keep("detector", detector_run(tree, scratch))
    return found


def main() -> int:
    """Record, or compare with a record: exit code 1 where a number differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=HERE.parent, help="the checkout to run (default: this one)")
    parser.add_argument("--out", type=Path, help="write the hashes here")
    parser.add_argument("--against", type=Path, help="compare with hashes recorded before")
    parser.add_argument("--only", nargs="+", default=[], help="names of runs")
    args = parser.parse_args()
    sys.path.insert(0, str(HERE / "detection"))
    found = record(args.tree.resolve(), args.only, args.out)
    if not args.against:
        return 0
    before = json.loads(args.against.read_text())
    odd = [
        f"{run}/{file}"
        for run in found
        for file in sorted(found[run].keys() | before.get(run, {}).keys())
        if found[run].get(file) != before.get(run, {}).get(file)
    ]
    n = sum(map(len, found.values()))
    print("\n".join(f"DIFFERS {name}" for name in odd) or f"{len(found)} runs, {n} files: all the same")
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
