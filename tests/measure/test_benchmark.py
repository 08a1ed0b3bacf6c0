"""Models timed against each other: the figures' order and direction, the table, and what is refused."""

import io
import json

import pytest
import torch
from rich.console import Console
from run_tool import run_tool
from torch import nn

from compress.export import export_onnx
from compress.measure import benchmark as benchmark_module
from compress.measure.benchmark import benchmark_models
from compress.plan import UserError
from compress.report.benchmark import print_benchmark

QUICK = {"repeats": 5, "warmup_seconds": 0.02}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A wide network on large images, and a narrow one."""
    folder = tmp_path_factory.mktemp("benchmark")
    paths = []
    for name, width, side in (("wide", 64, 32), ("narrow", 2, 8)):
        network = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.Flatten())
        paths.append(export_onnx(network, folder / f"{name}.onnx", input_size=(3, side, side)))
    return paths


def test_rows_stand_in_order_and_ratios_are_to_the_first(pair, monkeypatch):
    """A call takes as many microseconds here as its answer has numbers."""

    def by_answer(calls, *, repeats, **_):
        return {name: [1e-3 * call().size] * repeats for name, call in calls.items()}

    monkeypatch.setattr(benchmark_module, "interleaved", by_answer)
    result = benchmark_models([*pair, pair[0]], batch=2, **QUICK)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    wide, narrow, again = result["rows"]
    assert [row["file"] for row in result["rows"]] == [str(path) for path in (*pair, pair[0])]
    assert wide["ratio"] == {"median": 1.0, "p10": 1.0, "p90": 1.0}
    numbers = 2 * 64 * 28 * 28, 2 * 2 * 4 * 4
    assert [row["ms"]["median"] for row in (wide, narrow)] == pytest.approx([1e-3 * n for n in numbers])
    assert narrow["ratio"]["median"] == pytest.approx(numbers[1] / numbers[0])
    assert again["ratio"] == wide["ratio"]
    assert wide["weights"] == again["weights"] == 3 * 64 * 9 + 64 + 64 * 64 * 9 + 64
    assert wide["bytes"] == pair[0].stat().st_size
    assert (wide["ms"]["n"], result["batch"], result["threads"], result["gpu"]) == (5, 2, 1, None)


def test_every_model_gets_images_of_its_own_shape_and_the_batch(pair, monkeypatch):
    seen, threads = [], torch.get_num_threads()

    def watch(calls, **options):
        seen.extend(call().shape for call in calls.values())
        return {name: [1.0] for name in calls}

    monkeypatch.setattr(benchmark_module, "interleaved", watch)
    monkeypatch.setattr(benchmark_module, "time_reference", lambda: 1.0)
    benchmark_models(pair, batch=3, threads=2)
    assert seen == [(3, 64 * 28 * 28), (3, 2 * 4 * 4)]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("after", "warns"), [(1.1, False), (1.5, True)])
def test_drift_is_told_below_the_table(pair, monkeypatch, after, warns):
    reference = iter((1.0, after))
    monkeypatch.setattr(benchmark_module, "time_reference", lambda: next(reference))
    result = benchmark_models(pair[1:], repeats=1, warmup_seconds=0.0)
    assert result["drifted"] is warns
    text = io.StringIO()
    print_benchmark(result, Console(file=text, width=200))
    assert ("warning: the machine's speed changed meanwhile" in text.getvalue()) is warns
    assert "1.000 ms before and 1.500 ms after" in text.getvalue() or not warns


def test_the_table_of_known_figures():
    row = {
        "file": "a.onnx", "backend": "onnxruntime", "ms": {"median": 2.0, "p10": 1.5, "p90": 2.5, "n": 60},
        "ratio": {"median": 0.5, "p10": 0.25, "p90": 0.75}, "bytes": 1_234_567, "weights": 300_000,
    }  # fmt: skip
    engine = {**row, "file": "[b].engine", "backend": "tensorrt", "weights": None}
    result = {"device": "a CPU", "gpu": {"name": "a GPU"}, "batch": 8, "threads": 4, "drifted": False}
    text = io.StringIO()
    print_benchmark({**result, "rows": [row, engine]}, Console(file=text, width=80))
    lines = [" ".join(line.split()) for line in text.getvalue().splitlines()]
    assert "a.onnx 2.000 0.500 1.23 300,000" in lines
    assert "onnxruntime 1.500-2.500 0.250-0.750" in lines
    assert "[b].engine 2.000 0.500 1.23" in lines
    assert " ".join(lines).endswith("a CPU, a GPU; batch 8, threads 4, 60 samples each, in turn; ratios to the first")


def test_the_command_prints_and_writes(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # names are folded where they are longer than the terminal is wide
    target = tmp_path / "b.json"
    assert run_tool("benchmark", *pair, "--repeats", 2, "--batch", 2, "--json", target) == 0
    assert "narrow.onnx" in capsys.readouterr().out
    assert [row["ms"]["n"] for row in json.loads(target.read_text())["rows"]] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.onnx"], "absent.onnx: no such file; `nncompress export RUN --to onnx` writes one"),
        (["run"], "run: must be an .onnx or .engine file; `nncompress export` writes them"),
        (["absent.engine"], "absent.engine: no such engine; `nncompress export` builds one"),
        (
            ["M", "--batch", "0"],
            "--batch: 0 is out of range; give a number from 1 to 65536; --help lists the arguments",
        ),
        (
            ["M", "--threads", "0"],
            "--threads 0: must be a whole number of at least 1 and at most 256; more than the "
            "processor has cores does not help",
        ),
        (
            ["M", "--repeats", "0"],
            "--repeats: 0 is out of range; give a number from 1 to 1000000; --help lists the arguments",
        ),
        (["M", "FIXED", "--batch", "3"], "FIXED: takes batches of 4 images; give --batch 4"),
    ],
)
def test_user_errors_are_one_line(arguments, message, pair, tmp_path, capfd):
    import onnx

    fixed = onnx.load(pair[1])
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(fixed, tmp_path / "fixed.onnx")
    places = {"M": str(pair[1]), "FIXED": str(tmp_path / "fixed.onnx")}
    assert run_tool("benchmark", *(places.get(text, text) for text in arguments), "--json", tmp_path / "b.json") == 2
    assert capfd.readouterr().err == f"error: {message.replace('FIXED', places['FIXED'])}\n"
    assert not (tmp_path / "b.json").exists()


def test_bad_batch_of_the_function(pair):
    with pytest.raises(UserError, match="batch=-1"):
        benchmark_models(pair, batch=-1)
