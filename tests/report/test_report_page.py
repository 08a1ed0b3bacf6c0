"""The page of a run: its numbers are those of the files, and a missing file costs one part only."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from compress.plan import UserError
from compress.report import write_report

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


@pytest.mark.parametrize(("depth", "n_groups"), [(20, 12), (164, 108)])
def test_bars_show_the_widths_of_the_plan(tmp_path, depth, n_groups):
    run = make_run(tmp_path, depth=depth)
    page = Page(write_report(run))
    plan = json.loads((run / "plan.json").read_text())["groups"]
    bars = {a["data-group"]: (int(a["data-kept"]), int(a["data-size"])) for t, a in page.tags if "data-group" in a}
    assert len(bars) == n_groups
    assert bars == {name: (len(group["kept"]), group["size"]) for name, group in plan.items()}
    assert list(bars) == list(plan)
    widths = re.findall(r'<span class="track"><i style="width:([\d.]+)%"></i></span><span class="of"', page.source)
    assert [float(w) for w in widths] == pytest.approx([100 * k / s for k, s in bars.values()], abs=0.006)


def test_table_holds_the_numbers_of_the_summary(tmp_path):
    run = make_run(tmp_path)
    page = Page(write_report(run))
    summary = json.loads((run / "summary.json").read_text())
    assert page.cells["params"] == ["Parameters", "219,370", "140,212", "1.56 times fewer"]
    assert page.cells["macs"] == ["MACs", "31,021,056", "18,035,712", "1.72 times fewer"]
    assert page.cells["top1"] == ["Top-1 accuracy (test split)", "97.78 %", "97.50 %", "\u22120.28 points"]
    assert page.cells["top1_error"][1:] == ["2.22 %", "2.50 %", "+0.28 points"]
    assert page.cells["latency_onnxruntime"][1:] == ["0.831 ms", "0.499 ms", "1.67 times faster"]
    assert page.cells["latency_pytorch"][::3] == ["Latency in PyTorch", "1.10 times faster"]
    assert page.cells["parity"][1:3] == ["1.9e\u221206", "1.4e\u221206"]
    raw = {a["data-key"]: (float(a["data-before"]), float(a["data-after"])) for t, a in page.tags if "data-key" in a}
    for key in ("params", "macs", "top1"):
        assert raw[key] == (summary[key]["before"], summary[key]["after"])
    text = page.visible()
    assert "1.72 times fewer MACs, 1.67 times faster in ONNX Runtime, error +0.28 points" in text
    for part in ("p10 0.812, p90 0.903, n 200", "p10 0.580, p90 0.630", "1 thread", "batch of 1", "360 images"):
        assert part in text


def test_headline_says_when_the_pruned_network_is_slower_and_better(tmp_path):
    run = make_run(tmp_path, latency_ratio={"onnxruntime": 1.25, "pytorch": 1.0}, top1={"before": 97.0, "after": 98.5})
    page = Page(write_report(run))
    assert "1.25 times slower in ONNX Runtime, error \u22121.50 points" in page.visible()
    assert page.cells["latency_pytorch"][3] == "unchanged"


@pytest.mark.parametrize("depth", [20, 164])
def test_page_is_one_well_formed_file_that_loads_nothing(tmp_path, depth):
    page = Page(write_report(make_run(tmp_path, depth=depth)))
    assert page.unbalanced == []
    assert page.open == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object", "image", "use"})
    assert not any({"src", "href", "srcset", "xlink:href", "onload", "onclick"} & set(a) for _, a in page.tags)
    assert not re.search(r"https?:|//\w|url\(|@import", page.source)
    assert {path.name for path in tmp_path.iterdir() if "report" in path.name} == {"report.html"}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, value):
    run = make_run(tmp_path)
    text = (run / "metrics.jsonl").read_text().replace('"epoch": 7,', f'"epoch": 7, "top1": {value},')
    (run / "metrics.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 7: .*; remove the line, or run the stages again"):
        write_report(run)


@pytest.mark.parametrize("without", [*((name,) for name in PARTS), PARTS])
def test_missing_file_costs_its_part_and_names_the_stage(tmp_path, without):
    run = make_run(tmp_path, without=without)
    page = Page(write_report(run))
    for name in PARTS:
        assert (f"{name} is not in this run folder; the " in page.visible()) == (name in without)
    assert page.cells["macs"][3] == "1.72 times fewer"
    assert page.unbalanced == []


def test_names_are_escaped(tmp_path):
    evil = '<script>alert("x")</script>&amp;'
    run = make_run(tmp_path, model=evil, dataset=evil, recipe=evil, evaluated_on=evil, device=evil)
    for name in ("plan.json", "recipe.json", "latency.json", "complexity.json"):
        text = (run / name).read_text().replace("layer2.0.conv1", json.dumps(evil)[1:-1])
        (run / name).write_text(text.replace("Example CPU 3000", json.dumps(evil)[1:-1]))
    (run / "scores.safetensors").unlink()
    page = Page(write_report(run))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.unbalanced == []
    assert page.visible().count(evil) >= 5
    assert evil in {a.get("data-group") for _, a in page.tags}


@pytest.mark.parametrize(("strength", "warned"), [(0.37, True), (1.0, False), (3.7, False), (None, False)])
def test_weak_search_is_warned_of(tmp_path, strength, warned):
    search = {"method": "rarts", "order": "fused", "gamma": 0.1, "strength": strength}
    page = Page(write_report(make_run(tmp_path, search=search)))
    text = "scores had little room to move; their ranking is mostly noise: raise gamma or search longer"
    assert (text in page.visible()) == warned


def test_failed_parity_is_warned_of(tmp_path):
    run = make_run(tmp_path)
    text = (run / "parity.json").read_text().replace("3e-07", "0.2")
    (run / "parity.json").write_text(text)
    assert "do not trust the ONNX file" in Page(write_report(run)).visible()
    (run / "parity.json").write_text(text.replace("0.2", "1e-05"))
    assert "do not trust" not in Page(write_report(run)).visible()


def test_histogram_counts_every_score_once(tmp_path):
    run = make_run(tmp_path)
    source = write_report(run).read_text()
    area = source[source.index('id="scores"') : source.index('id="how-it-was-made"')]
    ticks = [int(t.replace(",", "")) for t in re.findall(r'text-anchor="end">([\d,]+)</text>', area)]
    plan = json.loads((run / "plan.json").read_text())["groups"]
    total = {"kept": sum(len(g["kept"]) for g in plan.values())}
    total["pruned"] = sum(g["size"] for g in plan.values()) - total["kept"]
    for colour, expected in total.items():
        heights = re.findall(rf'<rect class="{colour}" [^>]*height="([\d.]+)"', area)
        assert sum(map(float, heights)) * max(ticks) / 220 == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e4])
def test_extreme_scores_and_a_search_of_one_epoch(tmp_path, scale):
    run = make_run(tmp_path)
    scores = load_file(run / "scores.safetensors")
    save_file({name: values * np.float32(scale) for name, values in scores.items()}, run / "scores.safetensors")
    (run / "metrics.jsonl").write_text(json.dumps(make_metrics()[0]) + "\n")
    page = Page(write_report(run))
    places = [float(v) for _, a in page.tags for k, v in a.items() if k in ("y", "y1", "cy", "height") and "%" not in v]
    assert min(places) >= -10
    assert max(places) <= 260


def test_same_files_give_the_same_bytes(tmp_path):
    first = write_report(make_run(tmp_path / "a")).read_bytes()
    assert write_report(make_run(tmp_path / "b")).read_bytes() == first


def test_page_needs_no_torch(tmp_path):
    make_run(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None; from compress.report import write_report; write_report(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_times_on_a_gpu_are_said_to_be(tmp_path):
    run = make_run(tmp_path / "run")
    file = run / "latency.json"
    timing = json.loads(file.read_text())
    timing["backends"]["tensorrt"] = timing["backends"]["onnxruntime"] | {"gpu": {"name": "Example GPU 9"}}
    file.write_text(json.dumps(timing))
    assert write_report(run).read_text().count("; TensorRT on Example GPU 9") == 2
