"""Swin-T at 224 pixels, every dimension pruned alike: parameters, MACs, parity and latency in ONNX Runtime.

All networks are timed in turn with the unpruned one, one thread, batch 1. `realised` is the measured speed-up over the
one that MACs promise.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results

MODEL = "swin_tiny_patch4_window7_224"
PLANS = ((0.2, 1), (0.4, 1), (0.4, 16), (0.6, 1), (0.6, 16), (0.8, 1), (0.8, 8))
"""(ratio, widths rounded to multiples of)"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="samples per network")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "swin_latency", help="keeps the ONNX files")
    parser.add_argument("--quick", action="store_true", help="one plan, three samples, results not written")
    return parser.parse_args()


def uniform_plan(space: Any, ratio: float, multiple: int) -> Any:
    """The first dimensions of every group, `1 - ratio` of them to the nearest multiple, evenly over the groups."""
    from compress.plan import WidthPlan
    from compress.spaces import sizes

    full = sizes(space.groups)
    widths = {name: max(multiple, round(n * (1 - ratio) / multiple) * multiple) for name, n in full.items()}
    return WidthPlan(space.name, full, {name: tuple(range(width)) for name, width in widths.items()})


def exported(path: Path, network: Any) -> dict[str, float]:
    """Write the ONNX file unless it is there; parity with PyTorch on seeded noise."""
    import torch

    from compress.export import compare_with_onnx, export_onnx

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        export_onnx(network, path, input_size=(3, 224, 224))
    images = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return compare_with_onnx(network, path, [(images, torch.zeros(4, dtype=torch.long))], tolerance=1e-4)


def main(args: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from compress.costs import macs, params
    from compress.export import INPUT_NAME, onnx_session
    from compress.measure import interleaved, summarise, summarise_ratio
    from compress.measure.networks import timing_network
    from compress.pruning import slice_model
    from compress.spaces import SwinSpace, sizes

    torch.set_num_threads(1)
    space = SwinSpace(num_classes=1000, model=MODEL)
    network = timing_network(space, (3, 224, 224))  # biases of zero would be optimised away
    networks: dict[str, tuple[Any, Any]] = {"unpruned": (network, space)}
    for ratio, multiple in PLANS[:1] if args.quick else PLANS:
        sliced = slice_model(network, space, uniform_plan(space, ratio, multiple))
        networks[f"{ratio:.0%}, multiples of {multiple}"] = sliced
    feed = {INPUT_NAME: np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)}
    rows, calls = [], {}
    full: dict[str, int] = {}
    for name, (model, of) in networks.items():
        path = args.work_dir / f"{name.replace('%, multiples of ', '_')}.onnx"
        parity = exported(path, model)
        calls[name] = partial(onnx_session(path).run, None, feed)
        operators, widths = of.operators((3, 224, 224)), sizes(of.groups)
        cost = {"macs": macs(operators, widths), "params": params(operators, widths)}
        full = full or cost
        heads = sorted({group.size for group in of.groups if group.kind == "attention"})
        rows.append(
            {
                "network": name,
                "head dimension": heads[0],
                "M parameters": round(cost["params"] / 1e6, 2),
                "GMACs": round(cost["macs"] / 1e9, 3),
                "MACs ratio": round(cost["macs"] / full["macs"], 3),
                "parity": f"{parity['max_rel_diff']:.1e}",
            }
        )
    samples = interleaved(calls, repeats=3 if args.quick else args.repeats)
    for row in rows:
        ratio = summarise_ratio(samples["unpruned"], samples[row["network"]])["median"]
        row["ms, median"] = round(summarise(samples[row["network"]])["median"], 1)
        row["latency ratio"] = round(ratio, 3)
        row["realised"] = round(row["MACs ratio"] / ratio, 2)
    print_rows("Swin-T at 224, ONNX Runtime, one thread", rows)
    if not args.quick:
        print(save_results("swin_latency", rows))


if __name__ == "__main__":
    main(parse())
