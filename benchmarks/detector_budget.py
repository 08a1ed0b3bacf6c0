"""A detector's latency budget: 0.9 of the whole call, of which the backbone alone is pruned, and does it come true?

Where the heads leave the backbone a share that can give that much: the drawn set's twin at 128 pixels as it is, and the
full Cascade Mask R-CNN on Swin-T at 320 with few boxes. Tables, selection and corrections as a run has them, with
random weights and scores; the network is timed once more afterwards. MACs, in the profiles too, are the backbone's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results
from detector import RECIPE
from realised_speedup import compare

RATIO = 0.9
PROPOSALS, FOUND = 50, 10
"""Of the full detector: boxes that the RPN proposes, and that get a mask."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "detector_budget", metavar="D")
    parser.add_argument("--quick", action="store_true", help="the twin, few samples, results not written")
    return parser.parse_args()


def detectors() -> dict[str, tuple[str, dict[str, Any], int]]:
    """Name -> the space, its settings, and the side of the images."""
    from compress.detection.config_file import load_config
    from compress.detection.data import head_classes

    full = load_config(str(RECIPE)).model.to_dict()
    full["test_cfg"]["rpn"]["max_per_img"], full["test_cfg"]["rcnn"]["max_per_img"] = PROPOSALS, FOUND
    twin = load_config(str(ROOT / "benchmarks" / "drawn_detector.py")).model.to_dict()
    models = {"drawn set's twin at 128": (twin, 128), "Swin-T at 320": (full, 320)}
    return {n: ("detector", {"num_classes": head_classes(m), "model": m}, side) for n, (m, side) in models.items()}


def main(args: argparse.Namespace) -> None:
    import tempfile

    import torch

    import compress.detection  # noqa: F401  (its space)
    from compress.measure import TableConfig

    torch.set_num_threads(1)
    config = TableConfig(**({"designs": 10, "rounds": 4} if args.quick else {"designs": 12}))
    found = dict(list(detectors().items())[: 1 if args.quick else None])
    with tempfile.TemporaryDirectory() as nowhere:
        folder = Path(nowhere) if args.quick else args.work_dir
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            row
            for name, setting in found.items()
            for row in compare(name, setting, folder, config, ["knapsack"], [RATIO])
        ]
    for row in rows:  # of the backbone, beside the latency of the whole call
        row["backbone_macs_ratio"] = row.pop("macs_ratio")
        del row["realised"]
    keys = ("network", "ratio", "measured", "miss", "backbone_macs_ratio", "kept_score")
    shown = [{key: row[key] for key in keys} for row in rows]
    if shown:
        print_rows("Whole detectors, ONNX Runtime, one thread", shown)
    if not args.quick:
        print(save_results("detector_budget", rows, proposals=PROPOSALS, found=FOUND))


if __name__ == "__main__":
    main(parse())
