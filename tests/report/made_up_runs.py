"""The folder of a finished run, made up: every file that the report reads, and a reader of its page."""

import json
import re
from html.parser import HTMLParser

import numpy as np
from safetensors.numpy import save_file

PARTS = (
    "plan.json",
    "scores.safetensors",
    "complexity.json",
    "metrics.jsonl",
    "latency.json",
    "parity.json",
    "recipe.json",
)


def group_sizes(depth):
    """Scored groups, two to a block: 12 of a small network, 108 of a bottleneck network of 164 layers."""
    blocks = range(18 if depth == 164 else 2)
    return {f"layer{s}.{b}.conv{c}": 8 * 2**s for s in (1, 2, 3) for b in blocks for c in (1, 2)}


def make_summary(depth):
    big = depth == 164
    return {
        "format": 1,
        "model": "preresnet",
        "recipe": f"preresnet{depth}_digits_rarts",
        "dataset": "digits",
        "params": {"before": 1_703_258 if big else 219_370, "after": 1_093_004 if big else 140_212},
        "macs": {"before": 247_655_040 if big else 31_021_056, "after": 133_120_768 if big else 18_035_712},
        "top1": {"before": 97.78, "after": 97.5},
        "top1_stages": {"searched": 96.11, "sliced": 60.28},
        "latency_ms": {
            "onnxruntime": {
                "before": {"median": 0.8314, "p10": 0.8121, "p90": 0.9034, "n": 200},
                "after": {"median": 0.4988, "p10": 0.4821, "p90": 0.5523, "n": 200},
            },
            "pytorch": {
                "before": {"median": 2.41, "p10": 2.33, "p90": 2.62, "n": 200},
                "after": {"median": 2.18, "p10": 2.1, "p90": 2.44, "n": 200},
            },
        },
        "latency_ratio": {"onnxruntime": 0.6, "pytorch": 0.905},
        "parity_max_abs_diff": {"before": 1.9e-6, "after": 1.4e-6},
        "seconds": {"load": 1.2, "search": 211.4, "select": 0.1, "slice": 0.2, "finetune": 96.0, "measure": 4.0},
        "seed": 0,
        "search": {"method": "rarts", "order": "fused", "gamma": 0.1, "strength": 3.7},
        "distill": {"temperature": 4.0, "weight": 1.0},
        "budget": {"kind": "pruning_ratio", "value": 0.4},
        "pruned_ratio": 0.4,
        "evaluated_on": "test",
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "device": "Example CPU 3000",
    }


def make_metrics():
    rows = []
    for epoch in range(1, 41):
        fall = np.exp(-epoch / 9)
        row = {"stage": "search", "epoch": epoch, "epochs": 40, "loss": 0.1 + 0.5 * fall, "lr": 0.1, "seconds": 5.0}
        row |= {"loss_p": 0.08 + 0.5 * fall, "loss_a": 0.15 + 0.6 * fall, "mean_abs_score": 0.3 + 0.7 * fall}
        row |= {"zeros": max(0, epoch - 12) * 4, "lr_alpha": 0.01}
        rows.append(row | ({"top1": 96.5 - 20 * fall} if epoch % 5 == 0 else {}))
    for epoch in range(1, 31):
        fall = np.exp(-epoch / 5)
        row = {"stage": "finetune", "epoch": epoch, "epochs": 30, "loss": 0.05 + fall, "lr": 0.05, "seconds": 3.0}
        rows.append(row | {"loss_ce": 0.03 + 0.5 * fall, "loss_kd": 0.02 + 0.5 * fall, "top1": 97.6 - 30 * fall})
    return rows


def operator(name, kind, part, params, macs):
    """One operator of complexity.json; costs are (before, after)."""
    costs = {"params": params, "macs": macs}
    both = {
        cost: {side: {"formula": n, "counted": n} for side, n in zip(("before", "after"), pair, strict=True)}
        for cost, pair in costs.items()
    }
    return {"name": name, "kind": kind, "part": part, **both}


def make_complexity(operators):
    """The content of complexity.json: the operators and their sums."""
    sums = {
        cost: {
            side: {source: sum(row[cost][side][source] for row in operators) for source in ("formula", "counted")}
            for side in ("before", "after")
        }
        for cost in ("params", "macs")
    }
    return {"format": 1, "input_size": [3, 32, 32], **sums, "operators": operators}


def convolutions(groups):
    """An operator for each group, as of a convolution whose outputs are the group."""
    rows = []
    for name, group in groups.items():
        widths = group["size"], len(group["kept"])
        rows.append(operator(name, "conv", "layers", [9 * n for n in widths], [900 * n for n in widths]))
    return [*rows, operator("fc", "linear", "classifier", (650, 650), (640, 640))]


def make_run(folder, *, depth=20, without=(), **changes):
    """A run folder as the stages leave it; `changes` replace keys of the summary."""
    rng = np.random.default_rng(depth)
    sizes, scores, groups = group_sizes(depth), {}, {}
    for i, (name, size) in enumerate(sizes.items()):
        values = rng.gamma(2.0, 0.12 + 0.1 * (i % 5), size) * rng.choice([-1, 1], size)
        scores[name] = np.where(np.abs(values) < 0.12, 0, values).astype(np.float32)
    cut = np.quantile(np.abs(np.concatenate(list(scores.values()))), 0.4)
    for name, values in scores.items():
        groups[name] = {"size": sizes[name], "kept": np.flatnonzero(np.abs(values) > cut).tolist() or [0]}
    summary = make_summary(depth) | changes
    timing = {"device": "Example CPU 3000", "dtype": "float32", "batch": 1, "threads": 1, "input_size": [3, 32, 32]}
    timing |= {"date": "2026-05-01T12:00:00+00:00", "versions": {"onnxruntime": "1.22.0"}, "backends": {}}
    for name, times in summary["latency_ms"].items():
        ratio = summary["latency_ratio"][name]
        timing["backends"][name] = times | {"ratio": {"median": ratio, "p10": ratio - 0.02, "p90": ratio + 0.03}}
    check = {"max_abs_diff": 1.4e-6, "max_rel_diff": 3e-7, "n_images": 360, "top1_onnx": 97.5, "top1_torch": 97.5}
    check["top1_agreement"] = 100.0
    select = {"ranking": "global", "floor": 1, "round_to": 1}
    files = {
        "summary.json": summary,
        "plan.json": {
            "format": 1,
            "space": "preresnet",
            "groups": groups,
            "select": select,
            "scores_sha256": "0f" * 32,
        },
        "complexity.json": make_complexity(convolutions(groups)),
        "latency.json": timing,
        "parity.json": {"baseline": check, "model": check, "tolerance": 1e-4, "opset": 18},
        "recipe.json": {
            "recipe": {"name": summary["recipe"], "search": {"epochs": 40, "gamma": 0.1}},
            "checkpoint": {"path": "base.pth", "sha256": "0f" * 32},
            "budget": {"kind": "free", "value": None},
        },
    }
    folder.mkdir(exist_ok=True, parents=True)
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in make_metrics()))
    save_file(scores, folder / "scores.safetensors")
    for name in without:
        (folder / name).unlink()
    return folder


class Page(HTMLParser):
    """Tags with attributes, the visible text, and the nesting of tags."""

    VOID = ("meta", "br", "wbr", "link", "img")

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.open, self.text, self.cells, self.unbalanced = [], [], [], {}, []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.row = dict(attrs).get("data-key")
            self.cells[self.row] = []
        if tag in ("td", "th") and self.cells:
            self.cells[self.row].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[self.row][-1] += data

    def visible(self):
        return re.sub(r"\s+", " ", " ".join(self.text))
