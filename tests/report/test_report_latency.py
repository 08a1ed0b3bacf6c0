"""What a latency table had to do with a run, and the page on a table. About five seconds, most of them imports."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import Page, make_run

import compress.measure
from compress.costs import LatencyTable
from compress.costs.latency import OperatorCosts
from compress.costs.stairs import SHOWN, chosen_stairs, table_stairs
from compress.plan import UserError
from compress.report import write_report, write_table_report

ROOT = Path(__file__).resolve().parents[2]
PATH = [
    {"correction": 1.0, "predicted": 0.59, "measured": 0.7},
    {"correction": 1.19, "predicted": 0.6, "measured": 0.55},
    {"correction": 1.1, "predicted": 0.58, "measured": 0.66},
]


def small_table():
    """Two groups, a and b: `first` makes a, `middle` reads it and makes b, `last` reads b, `norm` is of fixed width."""
    widths = {"a": (8, 16), "b": (0, 8, 24)}
    operators = {
        "first": OperatorCosts(3, "a", np.array([[0.1, 0.2]])),
        "middle": OperatorCosts("a", "b", np.array([[0.0, 0.1, 0.2], [0.0, 0.2, 0.4]])),
        "last": OperatorCosts("b", 10, np.array([[0.0], [0.05], [0.15]])),
        "norm": OperatorCosts(3, 3, np.array([[0.05]])),
    }
    key = {"device": "Example CPU 3000", "backend": "onnxruntime", "space": "tiny", "arch": {"depth": 2}}
    key |= {"batch": 1, "threads": 1, "input_size": [3, 32, 32]}
    record = {
        "residual": {"median": 0.02, "p90": 0.05, "rank_correlation": 0.75, "n": 4},
        "designs": [
            {"widths": {}, "ratio": ratio, "held_out": held_out}
            for ratio, held_out in ((0.4, 0.42), (0.5, 0.5), (0.6, 0.57), (0.8, 0.816))
        ],
        "reference_ms": [1.0, 1.25],
        "date": "2026-05-01T12:00:00+00:00",
    }
    return LatencyTable(key, 10.0, widths, operators, 0.2, record)


def many_groups(n):
    """Groups g0, g1, ... of 32 channels, dearer the higher; an operator makes each, one reads two of them."""
    widths = {f"g{i}": (16, 32) for i in range(n)}
    operators = {f"op{i}": OperatorCosts(3, f"g{i}", np.array([[0.01 * i, 0.02 * i]])) for i in range(n)}
    operators["both"] = OperatorCosts("g0", "g1", np.array([[0.001, 0.001], [0.001, 0.004]]))
    return replace(small_table(), widths=widths, operators=operators)


def tips(page):
    """The text under the pointer of every dot."""
    return [unescape(tip) for tip in re.findall(r"<circle [^>]*><title>([^<]*)</title>", page.source)]


def page_of(path, target=None):
    return write_table_report(path, table_stairs(LatencyTable.load(path)), target)


# Stairs


def test_stairs_are_the_time_of_all_that_touches_a_group_at_the_chosen_widths_of_the_others():
    stairs = chosen_stairs(small_table(), {"a": 12, "b": 8})
    assert {name: stairs[name] for name in ("device", "backend", "unpruned_ms", "others")} == {
        "device": "Example CPU 3000", "backend": "onnxruntime", "unpruned_ms": 10.0, "others": 0,
    }  # fmt: skip
    assert list(stairs["groups"]) == ["a", "b"], "0.6 and 0.55 of the time at full width"
    assert stairs["groups"]["a"] == {"widths": [8, 16], "shares": [0.2, 0.4], "width": 12, "share": 0.3}
    # middle at a = 12, between 8 and 16
    assert stairs["groups"]["b"] == {"widths": [0, 8, 24], "shares": [0.0, 0.2, 0.45], "width": 8, "share": 0.2}
    assert json.loads(json.dumps(stairs, allow_nan=False)) == stairs


def test_a_width_below_the_measured_ones_has_no_share_and_counts_as_the_narrowest_for_others():
    groups = chosen_stairs(small_table(), {"a": 3, "b": 24})["groups"]
    assert groups["a"]["share"] is None
    assert groups["b"]["shares"] == chosen_stairs(small_table(), {"a": 8, "b": 24})["groups"]["b"]["shares"]


def test_the_largest_groups_are_shown_and_the_rest_counted():
    table = many_groups(SHOWN + 4)
    stairs = table_stairs(table)
    assert list(stairs["groups"]) == [f"g{i}" for i in range(SHOWN + 3, 3, -1)]
    assert stairs["together"]["number"] == 4
    assert chosen_stairs(table, dict.fromkeys(table.widths, 16))["others"] == 4
    one_more = table_stairs(many_groups(SHOWN + 1))
    assert (len(one_more["groups"]), one_more["together"]) == (SHOWN + 1, None), "no plot for one group alone"
    assert table_stairs(small_table())["fixed"] == pytest.approx(0.25)


# In the report of a run


def run_with_table(folder, path, *, kept, budget=None):
    step = path[kept]
    prediction = {"backend": "onnxruntime", "device": "Example CPU 3000", "path": path}
    prediction |= {"ratio": step["predicted"], "correction": step["correction"]}
    run = make_run(
        folder,
        budget=budget or {"kind": "latency_ratio", "value": 0.6},
        predicted_latency_ms={"before": 10.0, "after": 10 * step["predicted"]},
        prediction=prediction,
    )
    plan = json.loads((run / "plan.json").read_text())
    plan["stairs"] = chosen_stairs(small_table(), {"a": 12, "b": 8})
    (run / "plan.json").write_text(json.dumps(plan))
    return Page(write_report(run))


def test_the_report_shows_every_selection_and_the_one_that_was_kept(tmp_path):
    page = run_with_table(tmp_path, PATH, kept=1)
    assert page.unbalanced == []
    told = tips(page)
    assert [tip for tip in told if tip.startswith(("predicted", "measured", "kept"))] == [
        "predicted 0.590", "predicted 0.600", "predicted 0.580",
        "measured 0.700", "measured 0.550", "measured 0.660", "kept",
    ]  # fmt: skip
    ring = re.search(r'<circle class="dot ring" cx="([\d.]+)%" cy="([\d.]+)"', page.source)
    (measured,) = re.findall(r'cx="([\d.]+)%" cy="([\d.]+)" r="4"><title>measured 0.550', page.source)
    assert ring.groups() == measured
    assert float(ring[1]) == 50, "the second of three"
    text = page.visible()
    assert "then corrected by 1.100, predicted 0.580, measured 0.660; kept: the selection that measured 0.550." in text
    assert "budget, 0.600" in text
    assert "latency / unpruned latency" in text


def test_a_budget_in_milliseconds_is_drawn_as_a_ratio_and_one_selection_is_enough(tmp_path):
    budget = {"kind": "macs_ratio", "value": 0.5, "also": [{"kind": "latency_ms", "value": 5.5}]}
    page = run_with_table(tmp_path, PATH[:1], kept=0, budget=budget)
    assert "budget, 0.550" in page.visible()
    assert "kept: the selection" not in page.visible()


def test_the_report_shows_where_the_chosen_widths_lie(tmp_path):
    page = run_with_table(tmp_path, PATH, kept=2)
    text = page.visible()
    assert "a: 12 of 16" in text
    assert "b: 8 of 24" in text
    assert "% of the unpruned latency" in text
    assert "latency table of ONNX Runtime on Example CPU 3000" in text
    assert "more are not" not in text
    chosen = re.findall(r'<circle class="dot c2" cx="([\d.]+)%" cy="[\d.]+" r="4.5"><title>([^<]*)', page.source)
    assert chosen[0][1] == "12 channels: 30.00 %, 3.00 ms"
    assert chosen[1][1] == "8 channels: 20.00 %, 2.00 ms"
    lines = re.findall(r'<line class="chosen" x1="([\d.]+)%"', page.source)
    assert lines == [at for at, _ in chosen]


def test_a_run_without_a_table_shows_none(tmp_path):
    page = Page(write_report(make_run(tmp_path)))
    assert "stairs" not in page.visible()
    assert "While channels were selected" not in page.visible()


# The page on a table


def test_the_page_of_a_table_holds_its_errors_and_every_network(tmp_path):
    small_table().save(tmp_path / "table.json")
    path = page_of(tmp_path / "table.json")
    assert path == tmp_path / "table.html"
    page = Page(path)
    text = page.visible()
    assert page.unbalanced == []
    for part in (
        "2.0 %",
        "5.0 %",
        "0.750",
        "10.0 ms",
        "25.0 % of the unpruned",
        "1.00 to 1.25 ms",
        "tiny on Example",
        "tiny, depth 2",
    ):
        assert part in text, part
    scatter = re.findall(r'cx="([\d.]+)%" cy="([\d.]+)" r="3.5"><title>predicted ([\d.]+) \(([^)]*)\)', page.source)
    assert [(p, ms) for _, _, p, ms in scatter] == [
        ("0.420", "4.20 ms"), ("0.500", "5.00 ms"), ("0.570", "5.70 ms"), ("0.816", "8.16 ms")
    ]  # fmt: skip
    # The second is on the diagonal: as far up as it is to the right.
    assert float(scatter[1][0]) / 100 == pytest.approx(1 - float(scatter[1][1]) / 300, abs=1e-3)
    assert [re.sub(".*error ", "", tip) for tip in tips(page) if "error" in tip] == [
        "+5.0 %",
        "+0.0 %",
        "\u22125.0 %",
        "+2.0 %",
    ]
    stairs = [tip for tip in tips(page) if "channels:" in tip]
    assert stairs[:2] == ["8 channels: 30.00 %, 3.00 ms", "16 channels: 60.00 %, 6.00 ms"]
    again = page_of(tmp_path / "table.json", tmp_path / "other" / "page.html")
    assert again.read_bytes() == path.read_bytes()
    assert not re.search(r"<script|src=|href=|url\(|@import", page.source)


def test_the_other_groups_share_one_plot(tmp_path):
    n = SHOWN + 4
    many_groups(n).save(tmp_path / "table.json")
    page = Page(page_of(tmp_path / "table.json"))
    assert page.source.count("<figcaption>g") == SHOWN
    assert "The other 4 groups together" in page.visible()
    together = [tip for tip in tips(page) if "of each group" in tip]
    # op0 to op3, and what lies between g0 and g1, at half width (16 of 32) and at full width
    assert together[9] == "50 % of each group's channels kept: 6.10 %, 0.610 ms"
    assert together[10].startswith("55 % of each group's channels kept: 12.40 %")
    assert together[-1] == "100 % of each group's channels kept: 12.40 %, 1.24 ms"


@pytest.mark.parametrize("slowest", [1.19, 1.21])
def test_the_page_warns_of_a_restless_machine_when_the_tool_does(tmp_path, slowest):
    table = small_table()
    table = replace(table, record={**table.record, "reference_ms": [1.1, 1.0, slowest]})
    table.save(tmp_path / "table.json")
    warned = "measure again when nothing else runs" in Page(page_of(tmp_path / "table.json")).visible()
    assert warned == ("measure again" in compress.measure.describe_table(table)) == (slowest > 1.2)


def test_names_are_escaped(tmp_path):
    table = small_table()
    replace(table, key={**table.key, "space": "<b>x", "device": "<i>&"}).save(tmp_path / "table.json")
    page = Page(page_of(tmp_path / "table.json"))
    assert "<b>x" in page.visible()
    assert "<i>&" in page.visible()
    assert page.unbalanced == []


def test_a_table_of_a_pruned_network_says_so(tmp_path):
    table = small_table()
    for widths, told in (({"a": 9}, "pruned in 1 group of"), ({"a": 9, "b": 3}, "pruned in 2 groups of")):
        replace(table, key={**table.key, "arch": {"depth": 2, "widths": widths}}).save(tmp_path / "table.json")
        assert f"tiny, depth 2, {told} channels" in Page(page_of(tmp_path / "table.json")).visible()


def test_tables_without_their_networks_and_pages_in_their_place_are_refused(tmp_path):
    table = small_table()
    replace(table, record={"date": "today"}).save(tmp_path / "bare.json")
    with pytest.raises(UserError, match=r"bare\.json: residual is missing; profile"):
        page_of(tmp_path / "bare.json")
    table.save(tmp_path / "table.html")
    with pytest.raises(UserError, match="is the table itself"):
        page_of(tmp_path / "table.html")
    assert LatencyTable.load(tmp_path / "table.html").unpruned_ms == 10.0


@pytest.mark.parametrize("report", [None, "pages/mine.html"])
def test_the_tool_leaves_a_page(tmp_path, monkeypatch, capsys, report):
    """Profiling is made up here."""
    from run_tool import run_tool

    def build(space, path, **settings):
        small_table().save(path)
        return small_table()

    monkeypatch.setattr(compress.measure, "build_table", build)
    table = tmp_path / "table.json"
    options = () if report is None else ("--report", tmp_path / report)
    recipe = ROOT / "recipes/width/preresnet20_digits_rarts.py"
    assert run_tool("profile_latency", recipe, "-o", table, *options) == 0
    page = tmp_path / (report or "table.html")
    assert "Predicted against measured" in page.read_text()
    assert f"Report: {page}" in capsys.readouterr().out
    assert run_tool("profile_latency", recipe, "-o", tmp_path / "x.html") != 0
    assert "give the table the suffix .json" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


# Layers


def test_layers_are_told_before_and_after_in_milliseconds_and_shares(tmp_path):
    run = make_run(tmp_path)
    timing = json.loads((run / "latency.json").read_text())
    rows = [{"name": f"layer{i}.<b>", "before": 0.04, "after": 0.02} for i in range(20)]
    rows += [{"name": "conv1 + conv2", "before": 0.1, "after": 0.2}, {"name": "rest", "before": 0.1, "after": 0.1}]
    timing["backends"]["onnxruntime"]["layers"] = rows
    (run / "latency.json").write_text(json.dumps(timing))
    page = Page(write_report(run))
    assert page.unbalanced == []
    bars = [a["data-layer"] for _, a in page.tags if "data-layer" in a]
    assert len(bars) == 12
    assert bars[:3] == ["conv1 + conv2", "rest", "layer0.<b>"]
    text = page.visible()
    assert "All layers together take 0.700 of the time that they took; 1 of 22 take more than before, 10.00 %" in text
    assert "0.0831 \u2192 0.166 ms" in text, "a tenth of the median of 0.8314 ms"
    assert "All 22 layers in ONNX Runtime" in text
    assert "between the layers" in text
    assert "Where the time went" not in Page(write_report(make_run(tmp_path / "other"))).visible()
