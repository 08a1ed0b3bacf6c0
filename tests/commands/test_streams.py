"""What the commands write in terminals of any encoding and width: whole, in signs that are there, and uncut."""

import io
import re
import sys
from argparse import Namespace

import pytest
from made_up_front import made_up
from rich.console import Console

from compress.commands import toy_model
from compress.commands.streams import PLAIN, open_streams
from compress.report import print_summary
from compress.report.benchmark import print_benchmark
from compress.report.estimate import print_estimate
from compress.report.figures import print_figures
from compress.report.front_terminal import print_front

SUMMARY = {
    "format": 1,
    "model": "preresnet",
    "dataset": "digits",
    "params": {"before": 219_370, "after": 140_212},
    "macs": {"before": 31_021_056, "after": 18_035_712},
    "top1": {"before": 97.78, "after": 97.5},
    "parity_max_abs_diff": {"before": 1.9e-6, "after": 1.4e-6},
    "latency_ms": {
        "onnxruntime": {
            "before": {"median": 0.8314, "p10": 0.8121, "p90": 0.9034, "n": 200},
            "after": {"median": 0.4988, "p10": 0.4821, "p90": 0.5523, "n": 200},
        }
    },
    "latency_ratio": {"onnxruntime": 0.6},
    "latency_spread": {"onnxruntime": {"p10": 0.9, "p90": 1.2}},
}
FRONT = made_up({"kind": "max_drop", "value": 1.0, "least": 94.0, "picked": "macs_ratio_0.5"})


def timed(file):
    times = {"median": 1.2345, "p10": 1.0, "p90": 2.0, "n": 60}
    return {"file": file, "backend": "onnxruntime", "ms": times, "ratio": times, "bytes": 898_000, "weights": 219_370}


BENCHMARK = {
    "rows": [timed("runs/demo/baseline.onnx"), timed("runs/a_folder_of_a_rather_long_name/model.int8.onnx")],
    "gpu": None,
    "device": "CPU",
    "batch": 1,
    "threads": 1,
    "drifted": False,
}
FOOTPRINT = {"weights": 2**34, "gradients": 2**34, "states": 2**35, "activations": 2**40, "peak": 2**41}
ESTIMATE = {
    "name": "swin_t_imagenet20",
    "stages": [
        {"name": "train", "steps": 1_234_567, "flops": 9_876_543e12, "hours": 5_432.1, "footprint": FOOTPRINT},
        {"name": "search", "steps": 0, "flops": 0.0, "hours": 0.0, "footprint": None},
    ],
    "data": {"train": 1_281_167, "judged": 50_000},
    "processes": 8,
    "tflops": 30.0,
    "measured": None,
    "buckets": 2**30,
    "disk": {"train": 2**33, "prune": 2**34},
}
PRINTED = {
    "summary": (print_summary, SUMMARY),
    "front": (print_front, FRONT),
    "times": (print_benchmark, BENCHMARK),
    "estimate": (print_estimate, ESTIMATE),
}


def written(monkeypatch, encoding, *texts):
    """The bytes that commands write in a terminal of `encoding`: of `texts`, then of every table."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    open_streams()
    for text in texts:
        print(text)
    for show, value in PRINTED.values():
        show(value)
    stream.flush()
    return stream.buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_every_encoding_gets_signs_that_it_has(monkeypatch, encoding):
    text = written(monkeypatch, encoding, "".join(PLAIN)).decode(encoding)
    assert "?" not in text
    assert "\\x" not in text
    assert "\\u" not in text
    minus = "\u2212" if encoding == "utf-8" else "-"
    assert f"{minus}0.28 points" in text
    assert f"1.9e{minus}06" in text


def test_a_sign_that_has_no_plain_one_is_written_by_its_number(monkeypatch):
    assert written(monkeypatch, "ascii", "caf\u00e9 \u732b \udcff").startswith(b"caf\\xe9 \\u732b \\udcff")


@pytest.mark.parametrize("width", [40, 50, 80, 120])
@pytest.mark.parametrize("what", PRINTED)
def test_no_figure_is_cut_however_narrow_the_terminal_is(what, width):
    show, value = PRINTED[what]
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    show(value, console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "\u2026" not in text
    figures = {
        "summary": ("31,021,056", "18,035,712", "1.72 times fewer", "not distinguishable", "Parameters", "p90 0.552"),
        "front": ("8.00 (0.800)", "parameters", "50.0 M", "picked", "MACs ratio 0.5", "unpruned"),
        "times": ("219,370", "1.000-2.000", "runs/demo/baseline.onnx", "onnxruntime", "weights"),
        "estimate": (
            "1,234,567",
            "9,876,543",
            "5,432.10",
            "1,048,576",
            "2,097,152",
            "activations",
            "search",
            "8,192 MiB",
        ),
    }[what]
    joined = re.sub(r"\s+", " ", text)
    assert [figure for figure in figures if figure not in joined] == []
    assert len(text.splitlines()) < 60, "names that are folded to a column of letters"


def test_categories_of_long_names_and_the_toy_model_are_whole_too(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    name = "bicycle with a basket in front of it"
    figures = {"backend": "onnxruntime", "n_images": 8, "evaluated_on": "val", "dataset": "coco"}
    print_figures("model.onnx", {**figures, "per_category": {name: {"bbox_mAP": 31.25, "segm_mAP": 28.5}}})
    monkeypatch.setattr("compress.search.toy_figure.draw_toy_model", lambda stem, **settings: [])
    monkeypatch.setattr("compress.plan.check_output", lambda *given: None)
    toy_model.main(Namespace(out="toy", steps=3, eta=0.01))
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    whole = (*name.split(), "31.25", "28.50", "mask AP", "RARTS fused, lambda = beta = 10", "closed form (w, alpha)")
    assert [part for part in whole if part not in text] == []
