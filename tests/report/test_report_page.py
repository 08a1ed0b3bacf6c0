"""The page of a run: its numbers are those of the files, and a missing file costs one part only."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from made_up_runs import PARTS, Page, make_metrics, make_run
from safetensors.numpy import load_file, save_file

from compress.plan import UserError
from compress.report import write_report


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
    assert page.cells["latency_pytorch"][3] == "not distinguishable", "its pairs lie on both sides of 1"
    drifted = Page(write_report(make_run(tmp_path / "drifted", drifted=True)))
    assert "The machine's speed changed by more than 20 %" in drifted.visible()
    assert "(<code>nncompress benchmark</code>)" in drifted.source


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


def test_same_files_in_a_folder_of_the_same_name_give_the_same_bytes(tmp_path, monkeypatch):
    pages = []
    for name in ("a", "b"):
        make_run(tmp_path / name / "run")
        monkeypatch.chdir(tmp_path / name)
        pages.append(write_report("run").read_bytes())
    assert pages[0] == pages[1]


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


def test_rounds_are_listed_from_the_unpruned_network_to_the_last(tmp_path):
    left = [
        {"params": 190_000, "macs": 24_816_844, "top1": 97.1},
        {"params": 160_000, "macs": 20_163_686, "top1": 96.4},
    ]
    run = make_run(tmp_path, steps=left)
    text = re.sub(r"\s+", " ", Page(write_report(run)).visible())
    for row in (
        "unpruned 219,370 31,021,056 1.000 97.78 %",
        "round 1 190,000 24,816,844 0.800 97.10 %",
        "round 2 160,000 20,163,686 0.650 96.40 %",
        "round 3 140,212 18,035,712 0.581 97.50 %",
    ):
        assert row in text
    once = Page(write_report(make_run(tmp_path / "once")))
    assert "round 1" not in once.visible()
