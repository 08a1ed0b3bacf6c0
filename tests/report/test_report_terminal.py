"""The terminal's table and the wording of numbers."""

import copy

import pytest
from rich.console import Console

from compress.plan import UserError
from compress.report import print_summary, summary_table, svg, wording

SUMMARY = {
    "format": 1,
    "model": "mobile[bold]net",
    "dataset": "digits",
    "params": {"before": 2_000_000, "after": 1_000_000},
    "macs": {"before": 3_000_000, "after": 1_000_000},
    "top1": {"before": 90.0, "after": 91.25},
    "latency_ms": {
        "onnxruntime": {
            "before": {"median": 10.0, "p10": 9.5, "p90": 12.0, "n": 50},
            "after": {"median": 5.1, "p10": 4.9, "p90": 6.0, "n": 50},
        }
    },
    "latency_ratio": {"onnxruntime": 0.5},
    "search": {"method": "rarts", "strength": 2.0},
    "budget": {"kind": "macs_ratio", "value": 0.33},
    "evaluated_on": "validation",
}


def printed(summary):
    console = Console(width=120, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
    print_summary(summary, console)
    return console.export_text()


def test_table_has_before_after_and_change():
    table = summary_table(SUMMARY)
    cells = list(zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True))
    assert [str(column.header) for column in table.columns] == ["", "before", "after", "change"]
    assert cells[0] == ("Parameters", "2,000,000", "1,000,000", "2.00 times fewer\n\u221250.0 %")
    assert cells[1][3].startswith("3.00 times fewer")
    assert cells[2] == ("Top-1 accuracy (validation split)", "90.00 %", "91.25 %", "+1.25 points")
    assert cells[3][1:] == ("10.00 %", "8.75 %", "\u22121.25 points")
    assert cells[4][1:3] == ("10.0 ms\np10 9.50\np90 12.0\nn 50", "5.10 ms\np10 4.90\np90 6.00\nn 50")
    assert cells[4][3].startswith("2.00 times faster")
    assert len(cells) == 5


def test_print_shows_headline_and_names_as_they_are():
    text = printed(SUMMARY)
    assert "mobile[bold]net on digits, budget: MACs ratio 0.33" in text
    assert "3.00 times fewer MACs, 2.00 times faster in ONNX Runtime, error \u22121.25 points" in text
    assert "warning" not in text


def test_print_warns_of_a_weak_search():
    weak = copy.deepcopy(SUMMARY)
    weak["search"]["strength"] = 0.2
    assert "raise gamma or search longer" in " ".join(printed(weak).split())


def test_speed_comes_from_the_paired_ratio_and_else_from_the_medians():
    unpaired = {key: value for key, value in SUMMARY.items() if key != "latency_ratio"}
    assert "1.96 times faster" in printed(unpaired)
    assert "1.96" not in printed(SUMMARY)


def test_summary_without_accuracy_or_latency_still_prints():
    bare = {key: SUMMARY[key] for key in ("format", "model", "dataset", "params", "macs")}
    assert "3.00 times fewer MACs" in printed(bare)
    with pytest.raises(UserError, match="summary: macs is missing"):
        summary_table({key: value for key, value in bare.items() if key != "macs"})


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9999, "1.00"), (9.996, "10.0"), (0.04321, "0.0432"), (1234.5, "1,234"), (3e-5, "3.0e\u221205")],
)
def test_three_significant_digits(value, text):
    assert wording.digits(value) == text


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.013, 0.017), (-3, 8), (97.2, 97.2), (0, 0), (60, 97.8), (0, 4032), (5e-7, 2e-6)]
)
def test_axes_cover_their_values_with_distinct_round_labels(low, high):
    axis = svg.nice_axis(low, high)
    assert axis.low <= low <= high <= axis.high
    assert 0 <= axis.at(low) <= axis.at(high) <= 100
    labels = [axis.label(tick) for tick in axis.ticks]
    assert 2 <= len(labels) <= 8
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("last", [1, 2, 3, 7, 10, 11, 30, 160])
def test_epoch_axes_run_from_the_first_to_the_last_epoch(last):
    axis = svg.epoch_axis(last)
    assert axis.low <= 1 <= last <= axis.high
    assert axis.ticks[0] == 1
    assert axis.ticks[-1] == last
    assert list(axis.ticks) == sorted(set(axis.ticks))
    assert all(tick == int(tick) for tick in axis.ticks)


def said(summary):
    return " ".join(printed(summary).split())


def test_the_headline_tells_what_the_spread_allows():
    spread = {"p10": 0.97, "p90": 1.04}
    unclear = SUMMARY | {"latency_ratio": {"onnxruntime": 0.99}, "latency_spread": {"onnxruntime": spread}}
    text = said(unclear)
    assert "latency not distinguishable in ONNX Runtime" in text
    assert "The pruned network is not faster in ONNX Runtime: fewer MACs are not fewer milliseconds" in text
    noisy = unclear | {"latency_spread": {"onnxruntime": {"p10": 0.4, "p90": 1.9}}}
    text = said(noisy)
    assert "Whether the pruned network is faster in ONNX Runtime is not known: samples of the same pair differ" in text
    assert "is not faster" not in text
    slower = SUMMARY | {
        "latency_ratio": {"onnxruntime": 1.6},
        "latency_spread": {"onnxruntime": {"p10": 1.5, "p90": 1.7}},
        "not_faster": "37 of 40 widths are odd",
    }
    text = said(slower)
    assert "1.60 times slower in ONNX Runtime" in text
    assert "not faster in ONNX Runtime: 37 of 40 widths are odd." in text
    faster = SUMMARY | {"latency_spread": {"onnxruntime": {"p10": 0.45, "p90": 0.55}}, "not_faster": "it was not once"}
    assert "not faster" not in said(faster)
    assert "The machine's speed changed by more than 20 %" in said(SUMMARY | {"drifted": True})
