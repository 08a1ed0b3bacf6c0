"""The folder of a finished detector's run, made up."""

import copy
import json
import re

from made_up_runs import make_complexity, make_run, operator

SUMMARY = {
    "model": "detector",
    "dataset": "coco",
    "evaluated_on": "val",
    "bbox_mAP": {"before": 43.5, "after": 42.75},
    "bbox_mAP_stages": {"searched": 41.0, "sliced": 20.5},
    "segm_mAP": {"before": 38.25, "after": 38.5},
    "segm_mAP_stages": {"searched": 36.0, "sliced": 17.5},
    "train_bbox_mAP": {"before": 61.0, "after": 59.0},
    "train_bbox_mAP_stages": {"searched": 60.0, "sliced": 30.0},
    "distill": None,
}
CATEGORIES = {
    "format": 1,
    "images": 5000,
    "categories": [
        {"name": "sheep & <lamb>", "objects": 1, "bbox_mAP": (20.0, 10.0), "segm_mAP": (9.0, 9.0)},
        {"name": "cat", "objects": 1234, "bbox_mAP": (50.0, 50.001), "segm_mAP": (40.0, 41.5)},
        {"name": "dog", "objects": 20, "bbox_mAP": (30.0, 32.5), "segm_mAP": (25.0, 24.0)},
        {"name": "zebra", "objects": 0, "bbox_mAP": (None, None), "segm_mAP": (None, None)},
    ],
}
PICTURES = {"a_before": b"\xff\xd8 before", "a_after": b"\xff\xd8 after", "b_before": b"\xff\xd8 other"}


def predictions():
    """Two images; the picture of the second after pruning is not in the folder."""
    sides = {"a": ((3, 2), (2, 1)), "b": ((0, 0), (0, 0))}
    images = []
    for name, counts in sides.items():
        image = {"image": f"{name}<1>.jpg", "training": name == "b", "objects": 4, "coincide": counts[1][1]}
        for side, (detections, correct) in zip(("before", "after"), counts, strict=True):
            file = f"predictions/{name}_{side}.jpg"
            image[side] = {"file": file, "detections": detections, "correct": correct}
        images.append(image)
    return {"format": 1, "threshold": 0.3, "iou": 0.5, "images": images}


def metrics():
    rows = []
    for epoch in (1, 2, 3):
        row = {"stage": "search", "epoch": epoch, "epochs": 3, "loss_p": 5.0 - epoch, "loss_a": 5.5 - epoch}
        rows.append(row | {"mean_abs_score": 0.9, "zeros": 0, "bbox_mAP": 30.0 + epoch, "train_bbox_mAP": 50.0})
        row = {"stage": "finetune", "epoch": epoch, "epochs": 3, "loss": 4.0 / epoch, "s0.acc": 90.0}
        row |= {"loss_rpn_cls": 0.5, "loss_rpn_bbox": 0.25, "s0.loss_cls": 1.0, "s1.loss_cls": 0.5}
        rows.append(row | {"s0.loss_bbox": 0.75, "s0.loss_mask": 0.375, "bbox_mAP": 40.0 + epoch})
    return rows


def detector(folder, *, without=(), **changes):
    """The folder of a finished detector's run."""
    changes = SUMMARY | changes
    run = make_run(folder, without=("scores.safetensors",), **changes)
    summary = json.loads((run / "summary.json").read_text())
    for key in ("top1", "top1_stages"):
        del summary[key]
    groups, kinds = {}, {}
    for stage, blocks in enumerate((1, 2)):
        for block in range(blocks):
            name = f"backbone.stages.{stage}.blocks.{block}"
            groups |= {f"{name}.attn.w_msa": {"size": 8, "kept": [0, 1]}, f"{name}.ffn": {"size": 4, "kept": [3]}}
            kinds |= {f"{name}.attn.w_msa": "attention", f"{name}.ffn": "mlp"}
    operators = [
        operator("backbone.stages.0.blocks.0.attn.w_msa.qkv", "linear", "attention_projections", (90, 45), (900, 450)),
        operator("backbone.stages.0.blocks.0.attn.products", "attention", "attention_products", (0, 0), (80, 40)),
        operator("backbone.stages.0.blocks.0.attn.bias", "parameter", "parameters", (7, 7), (0, 0)),
        operator("neck.lateral.weight", "parameter", "parameters", (64, 64), (0, 0)),
        operator("roi_head.fc.weight", "parameter", "parameters", (36, 36), (0, 0)),
    ]
    categories = copy.deepcopy(CATEGORIES)
    for row in categories["categories"]:
        row |= {kind: dict(zip(("before", "after"), row[kind], strict=True)) for kind in ("bbox_mAP", "segm_mAP")}
    check = {"n_images": 16, "n_detections": 1200, "n_unmatched": 0, "min_iou": 0.9999, "max_box_diff": 0.012}
    check |= {"max_score_diff": 2e-6, "max_mask_diff": 0.0021, "max_abs_diff": 2e-6}
    files = {
        "summary.json": summary,
        "plan.json": {"format": 1, "space": "detector", "groups": groups, "kinds": kinds},
        "complexity.json": make_complexity(operators),
        "parity.json": {"baseline": check, "model": check, "opset": 18},
        "predictions.json": predictions(),
        "categories.json": categories,
        "recipe.json": json.loads((run / "recipe.json").read_text()) | {"recipe": {"data": {"watch": 16}}},
    }
    for name, value in files.items():
        (run / name).write_text(json.dumps(value))
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics()))
    (run / "predictions").mkdir()
    for name, content in PICTURES.items():
        (run / f"predictions/{name}.jpg").write_bytes(content)
    for name in without:
        (run / name).unlink()
    return run


def of_section(page, name):
    """The source of one section."""
    return re.search(rf'<section id="{name}">(.*?)</section>', page.source, re.DOTALL).group(1)
