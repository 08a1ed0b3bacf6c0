"""What the exported graph of Swin-T at 224 pixels gains over a plain torch.onnx.export of timm's model.

Nodes are counted in the file and as ONNX Runtime runs them after its own optimisations; latencies are taken in turn,
one thread, batch 1. onnxruntime's transformer fusions and onnxslim are applied to the plain export, onnxslim to ours
too. onnxslim is no dependency: `pip install onnxslim` beside it.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from _harness import ROOT, check_rivals, print_rows, save_results
from swin_latency import MODEL, uniform_plan

SIZE = (3, 224, 224)
PLANS = {"unpruned": (0.0, 1), "40 %, multiples of 16": (0.4, 16)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="samples per graph")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "swin_graph", help="keeps the ONNX files")
    parser.add_argument("--quick", action="store_true", help="the unpruned network, three samples, nothing written")
    return parser.parse_args()


def plain(network: Any, path: Path) -> None:
    """What PyTorch's exporter makes of the network as it is."""
    import torch

    torch.onnx.export(
        network,
        (torch.randn(2, *SIZE),),
        path,
        dynamo=True,
        external_data=False,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )


def slim(source: Path, path: Path) -> bool:
    """onnxslim's version of a file; False when it is not installed."""
    try:
        import onnxslim
    except ImportError:
        return False
    onnxslim.slim(str(source), str(path))
    return True


def transformers(source: Path, path: Path) -> None:
    """onnxruntime's fusions for Swin, off line."""
    from onnxruntime.transformers import optimizer

    optimizer.optimize_model(str(source), model_type="swin").save_model_to_file(str(path))


def graphs(network: Any, folder: Path) -> dict[str, Path]:
    """The files of one network by what made them."""
    from compress.export import export_onnx

    folder.mkdir(parents=True, exist_ok=True)
    names = ("plain", "plain, onnxruntime.transformers", "plain, onnxslim", "ours", "ours, onnxslim")
    files = {name: folder / f"{name.replace(', ', '_')}.onnx" for name in names}
    if not files["plain"].exists():
        plain(network, files["plain"])
    if not files["ours"].exists():
        export_onnx(network, files["ours"], input_size=SIZE)
    if not files[names[1]].exists():
        transformers(files["plain"], files[names[1]])
    for source in ("plain", "ours"):
        target = files[f"{source}, onnxslim"]
        if not target.exists() and not slim(files[source], target):
            del files[f"{source}, onnxslim"]
    return files


def nodes(path: Path) -> tuple[int, int]:
    """Nodes in the file, and after ONNX Runtime's optimisations."""
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3  # it warns that optimised graphs are this machine's own
    options.optimized_model_filepath = str(path.with_suffix(".optimised"))
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    counts = [
        len(onnx.load(file, load_external_data=False).graph.node) for file in (path, path.with_suffix(".optimised"))
    ]
    path.with_suffix(".optimised").unlink()
    return counts[0], counts[1]


def main(args: argparse.Namespace) -> None:
    if not args.quick:
        check_rivals("swin_graph", "onnxslim")
    import numpy as np
    import torch

    from compress.export import INPUT_NAME, onnx_session
    from compress.measure import interleaved, summarise, summarise_ratio
    from compress.measure.networks import timing_network
    from compress.pruning import slice_model
    from compress.spaces import SwinSpace

    torch.set_num_threads(1)
    space = SwinSpace(num_classes=1000, model=MODEL)
    network = timing_network(space, SIZE)  # biases of zero would be optimised away
    feed = {INPUT_NAME: np.random.default_rng(0).standard_normal((1, *SIZE), dtype=np.float32)}
    rows = []
    for title, (ratio, multiple) in list(PLANS.items())[: 1 if args.quick else None]:
        model = slice_model(network, space, uniform_plan(space, ratio, multiple))[0]
        files = graphs(model, args.work_dir / f"{ratio:g}")
        calls = {name: partial(onnx_session(path).run, None, feed) for name, path in files.items()}
        outputs = {name: call()[0] for name, call in calls.items()}
        samples = interleaved(calls, repeats=3 if args.quick else args.repeats)
        for name, path in files.items():
            before, after = nodes(path)
            difference = np.abs(outputs[name] - outputs["plain"]).max() / np.abs(outputs["plain"]).max()
            rows.append(
                {
                    "network": title,
                    "graph": name,
                    "nodes": before,
                    "nodes that run": after,
                    "MB": round(path.stat().st_size / 1e6, 1),
                    "ms, median": round(summarise(samples[name])["median"], 1),
                    "latency ratio": round(summarise_ratio(samples["plain"], samples[name])["median"], 3),
                    "difference": f"{difference:.1e}",
                }
            )
    print_rows("Swin-T at 224, ONNX Runtime, one thread", rows)
    if not args.quick:
        print(save_results("swin_graph", rows))


if __name__ == "__main__":
    main(parse())
