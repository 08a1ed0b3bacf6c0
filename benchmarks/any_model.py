"""Networks of timm's and torchvision's lists: what can be pruned, whether it is exact, and torch-pruning beside it.

Each network is traced, verified and cut to half of every group (`seconds` are of these three), saved, loaded, exported
and run in ONNX Runtime; then torch-pruning's own magnitude pruner cuts the same network at the same ratio, without
verification. One file a network (results/any_model), so a stopped run goes on. Weights, biases and statistics are
random, so that no head of zeros hides a difference; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results

MODELS = {
    128: (
        "resnet18", "resnet50", "resnetv2_50", "wide_resnet50_2", "densenet121", "vgg16_bn", "mobilenetv2_100",
        "mobilenetv3_large_100", "efficientnet_b0", "tf_efficientnet_lite0", "mnasnet_100", "ghostnet_100",
        "inception_v3", "hrnet_w18_small", "repvgg_a0", "torchvision:googlenet", "torchvision:squeezenet1_1",
        "dla34", "convnext_tiny", "edgenext_small", "mobilevit_s", "fastvit_t8", "res2net50_26w_4s",
        "regnety_008", "regnetx_008", "resnext50_32x4d", "efficientnetv2_rw_t", "nfnet_l0", "convnextv2_nano",
        "resnest14d", "torchvision:shufflenet_v2_x1_0", "torchvision:efficientnet_v2_s", "poolformer_s12",
        "torchvision:resnet18",
    ),
    224: (
        "vit_small_patch16_224", "deit_small_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s16_224",
        "coat_tiny", "xcit_nano_12_p16_224", "pit_ti_224", "levit_128s", "efficientformer_l1",
        "maxvit_tiny_tf_224", "torchvision:vit_b_16",
    ),
}  # fmt: skip
RATIO = 0.5
CLASSES = 10


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", help="only these")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "benchmarks" / "results" / "any_model")
    parser.add_argument("--quick", action="store_true", help="two small networks; results not written")
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.quick:
        args.models = ["mobilenetv3_small_050", "vit_tiny_patch16_224"]
    rows = []
    sizes = {model: size for size, models in MODELS.items() for model in models}
    for model in args.models or sizes:
        path = args.work_dir / f"{model.replace(':', '-')}.json"
        if path.exists() and not args.quick:
            rows.append(json.loads(path.read_text()))
            continue
        row = measured(model, sizes.get(model, 224 if "224" in model else 128))
        rows.append(row)
        print(json.dumps(row), flush=True)
        if not args.quick:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(row, indent=2) + "\n")
    shown = [{key: value for key, value in row.items() if key != "left"} for row in rows]
    print_rows("any network: half of every group", shown)
    if not args.quick and not args.models:
        print(save_results("any_model", rows))


def measured(model: str, size: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    row: dict[str, Any] = {"model": model, "pixels": size}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row |= ours(model, (3, size, size))
        row |= theirs(model, (3, size, size))
    return row


def ours(model: str, size: tuple[int, int, int]) -> dict[str, Any]:
    import torch

    from compress.costs import count_params, macs
    from compress.plan import UserError, WidthPlan, scratch
    from compress.pruning import slice_model
    from compress.spaces import Card, TracedSpace, load_model, save_model, sizes
    from compress.tracing import randomise, traced

    torch.manual_seed(0)
    bare = TracedSpace(num_classes=CLASSES, model=model)
    network = bare.build().eval()
    randomise(network, torch.Generator().manual_seed(0))
    started = time.perf_counter()
    try:
        space = traced(bare, size, network=network)
    except UserError as error:
        return {"groups": 0, "left": {"all": str(error)}, "outcome": "refused"}
    generator = torch.Generator().manual_seed(0)
    kept = {
        group.name: tuple(sorted(torch.randperm(group.size, generator=generator)[: -(-group.size // 2)].tolist()))
        for group in space.groups
    }
    small, small_space = slice_model(network, space, WidthPlan(space.name, sizes(space.groups), kept))
    seconds = time.perf_counter() - started
    operators, full = space.operators(size), sizes(space.groups)
    apart = masked_apart(network, small, space, kept, size)
    x = torch.randn(2, *size, generator=generator)
    with scratch() as folder, torch.inference_mode():
        save_model(
            folder / "m", small, Card(space.name, small_space.arch, tuple("abcdefghij"), {"input_size": list(size)})
        )
        loaded = load_model(folder / "m")[0]
        reload = float((loaded(x) - small.eval()(x)).abs().max())
        onnx = parity(small, folder / "m.onnx", x, size)
    prunable = {piece.module for group in space.groups for piece in group.slices}
    share = sum(
        value.numel() for name, value in network.named_parameters() if name.rpartition(".")[0] in prunable
    ) / count_params(network)
    return {
        "groups": len(space.groups),
        "left": space.left,
        "n_left": len(space.left),
        "share_of_params": round(share, 3),
        "macs_ratio": round(macs(operators, sizes(small_space.groups)) / macs(operators, full), 3),
        "masked_vs_sliced": apart,
        "reload": reload,
        "onnx": onnx,
        "seconds": round(seconds, 1),
        "outcome": "pruned",
    }


def masked_apart(network: Any, small: Any, space: Any, kept: Any, size: tuple[int, int, int]) -> float:
    """Largest difference of the masked and the sliced network's outputs, in that of the largest output."""
    from copy import deepcopy

    import torch

    from compress.tracing import largest_gap, masked_outputs, outputs_of

    scores = {g.name: torch.zeros(g.size).index_fill(0, torch.tensor(kept[g.name]), 1.0) for g in space.groups}
    pair = [deepcopy(each).double().eval() for each in (network, small)]
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    try:
        inputs = (x.double(),)
        masked, sliced = masked_outputs(pair[0], space.groups, scores, inputs), outputs_of(pair[1], inputs)
    except RuntimeError:  # code that makes float32 of its own
        pair = [each.float() for each in pair]
        masked, sliced = masked_outputs(pair[0], space.groups, scores, (x,)), outputs_of(pair[1], (x,))
    return largest_gap(masked, sliced)


def parity(small: Any, path: Path, x: Any, size: tuple[int, int, int]) -> str:
    """Largest relative difference of ONNX Runtime's outputs, or why there is no file."""
    from compress.export import INPUT_NAME, export_onnx, onnx_session

    try:
        export_onnx(small, path, input_size=size)
        out = onnx_session(path, threads=1).run(None, {INPUT_NAME: x.numpy()})[0]
    except Exception as error:  # noqa: BLE001 (whatever the exporter raises is the result)
        return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    wanted = small(x).numpy()
    return f"{abs(out - wanted).max() / abs(wanted).max():.1e}"


def theirs(model: str, size: tuple[int, int, int]) -> dict[str, Any]:
    """torch-pruning's magnitude pruner on the same network, its classifier ignored."""
    import torch
    import torch_pruning as tp

    from compress.costs import count_macs
    from compress.spaces import TracedSpace

    torch.manual_seed(0)
    network = TracedSpace(num_classes=CLASSES, model=model).build().eval()
    x = torch.zeros(1, *size)
    before = count_macs(network, size)
    ignored = [m for m in network.modules() if getattr(m, "out_features", getattr(m, "out_channels", 0)) == CLASSES]
    started = time.perf_counter()
    try:
        pruner = tp.pruner.MagnitudePruner(
            network, x, importance=tp.importance.MagnitudeImportance(p=2), pruning_ratio=RATIO, ignored_layers=ignored
        )
        pruner.step()
        seconds = time.perf_counter() - started
        with torch.inference_mode():
            network.eval()(x)
        after = count_macs(network, size)
    except Exception as error:  # noqa: BLE001 (whatever it raises is the result)
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        return {"torch_pruning": text, "tp_macs_ratio": None, "tp_seconds": round(time.perf_counter() - started, 1)}
    return {"torch_pruning": "runs", "tp_macs_ratio": round(after / before, 3), "tp_seconds": round(seconds, 1)}


if __name__ == "__main__":
    main()
