"""One tiny run from training to report: every documented file, every documented key, and numbers that repeat."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
FORMATS = (ROOT / "docs/formats.md").read_text(encoding="utf-8")


STAGES = ("load", "search", "select", "slice", "finetune", "export", "measure", "report")


def documented_files() -> list[str]:
    """The names in the first column of the table in docs/formats.md."""
    table, _, _ = FORMATS.partition("## ")
    rows = re.findall(r"^\| (`.*?`) \|", table, flags=re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def documented_json(title: str) -> dict:
    """The example under a heading of docs/formats.md."""
    _, _, section = FORMATS.partition(f"## `{title}`")
    return json.loads(section.split("```json\n")[1].split("```")[0])


def test_all_documented_files_are_there(finished, baseline: Path) -> None:
    folder, _ = finished
    assert len(documented_files()) == 20
    assert [name for name in documented_files() if not (folder / name).is_file()] == []
    assert (folder / "search/last.pth").is_file()
    assert (folder / "finetune/last.pth").is_file()
    assert not list(folder.rglob(".*"))
    assert {p.name for p in baseline.iterdir()} == {
        *("metrics.jsonl", "model.json", "model.safetensors", "recipe.json", "stages.json", "train")
    }


NESTED = {
    "summary.json": ("params", "macs", "top1", "top1_stages", "parity_max_abs_diff", "distill", "budget"),
    "plan.json": ("select", "budget", "params", "macs"),
    "parity.json": ("baseline",),
}


@pytest.mark.parametrize("name", ["summary.json", "plan.json", "complexity.json", "parity.json", "latency.json"])
def test_documented_keys(finished, name: str) -> None:
    written = json.loads((finished[0] / name).read_text())
    expected = documented_json(name)
    assert written.keys() == expected.keys()
    for key in NESTED.get(name, ()):
        assert written[key].keys() == expected[key].keys()


def test_summary_agrees_with_the_files(finished, baseline: Path) -> None:
    folder, _ = finished
    summary, stages, plan, parity = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("summary", "stages", "plan", "parity")
    )
    trained = json.loads((baseline / "stages.json").read_text())["train"]
    assert summary["top1"] == {"before": trained["top1"], "after": stages["finetune"]["top1"]}
    assert summary["params"] == plan["params"]
    assert summary["macs"] == plan["macs"]
    assert summary["budget"] == {"kind": "pruning_ratio", "value": 0.4}
    assert summary["pruned_ratio"] == pytest.approx(0.4, abs=0.003)
    assert list(summary["seconds"]) == list(STAGES[:-1])
    assert summary["parity_max_abs_diff"]["after"] == parity["model"]["max_abs_diff"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        *(("search", 1), ("search", 2), ("finetune", 1), ("finetune", 2))
    ]
    # Test images are evaluated when a stage has ended, and not along the way.
    assert not any("top1" in row or "val_loss" in row for row in rows)
    assert all(0 <= row["train_top1"] <= 100 for row in rows if row["stage"] == "finetune")


def test_output_tells_the_story(finished) -> None:
    folder, result = finished
    lines = result.stdout.splitlines()
    titles = [line for line in lines if line.endswith(" ...")]
    assert titles[0] == "Loading the checkpoint ..."
    assert titles[-1] == "Writing the report ..."
    assert len(titles) == 8
    assert any(re.search(r"epoch 1/2  loss .*left$", line) for line in lines)
    assert "pruning ratio 0.4" in result.stdout
    assert lines[-2] == f"Report: {folder / 'report.html'}"
    # What is next hangs on what was measured: on a busy machine, that again.
    again = f"benchmark {folder}/baseline.onnx {folder}/model.onnx"
    assert re.fullmatch(rf"Next: .+: nncompress (\w+ {folder}/recipe.json .+|{again})", lines[-1])
    assert "\x1b" not in result.stdout


def python(*arguments: object, **environment: str) -> str:
    command = [sys.executable, *map(str, arguments)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    result = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_a_fresh_process_loads_the_network_and_repeats_its_accuracy(finished) -> None:
    folder, _ = finished
    code = """
import json, sys
import compress
from compress.engine.data import DataConfig, load_data
from compress.engine.loaders import eval_loader
model = compress.load(sys.argv[1])
assert not {"onnx", "onnxruntime", "torchvision", "sklearn", "rich", "matplotlib"} & sys.modules.keys()
data = load_data(DataConfig(limit=60), seed=0)
hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in eval_loader(data.test, batch_size=7))
print(json.dumps({"top1": round(100 * hits / len(data.test), 4), "classes": list(model.card.classes)}))
"""
    answer = json.loads(python("-W", "error", "-c", code, folder, PYTHONPATH=str(ROOT)))
    assert answer["top1"] == json.loads((folder / "summary.json").read_text())["top1"]["after"]
    assert answer["classes"] == [str(i) for i in range(10)]


@pytest.fixture(scope="module")
def test_split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits that the tiny runs are judged on, as an archive."""
    from compress.engine.data import DataConfig, load_data

    split = load_data(DataConfig(limit=60), seed=0).test
    images = split.source.images[split.ids].permute(0, 2, 3, 1).numpy()
    path = tmp_path_factory.mktemp("split") / "test.npz"
    np.savez(path, test_images=images, test_labels=split.labels)
    return path


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that makes `import torch` and `import compress` fail when it comes first on the path."""
    folder = tmp_path_factory.mktemp("blocked")
    for name in ("torch", "compress", "onnx"):
        (folder / f"{name}.py").write_text("raise ImportError('blocked')\n")
    return folder


@pytest.mark.parametrize(("file", "side"), [("baseline", "before"), ("model", "after")])
def test_onnxruntime_and_numpy_alone_repeat_the_accuracy(
    finished, test_split: Path, without_torch: Path, file: str, side: str
) -> None:
    folder, _ = finished
    script = ROOT / "docs/deploy/check_onnx.py"
    output = python(script, folder / f"{file}.onnx", test_split, PYTHONPATH=str(without_torch))
    expected = json.loads((folder / "summary.json").read_text())["top1"][side]
    assert output == f"top-1 {expected:.4f} % of 60 images\n"


def test_the_scripts_resizing_is_the_librarys() -> None:
    import runpy

    import torch
    from torchvision.transforms.v2 import functional

    images = np.random.default_rng(0).integers(0, 256, (2, 37, 52, 3), dtype=np.uint8)
    script = runpy.run_path(str(ROOT / "docs/deploy/check_onnx.py"))
    for shorter in (20, 37, 50):
        ours = script["resize"](images, shorter).astype(int)
        theirs = functional.resize(torch.from_numpy(images).permute(0, 3, 1, 2), [shorter], antialias=True)
        assert ours.shape == theirs.permute(0, 2, 3, 1).shape
        assert np.abs(ours - theirs.permute(0, 2, 3, 1).numpy()).max() <= 1


def test_stages_one_by_one_equal_one_run(finished, tool, tiny, baseline: Path, same_run, tmp_path: Path) -> None:
    folder, _ = finished
    alone = tmp_path / "alone"
    first = ("--checkpoint", baseline, "--pruning-ratio", 0.4)

    for stage in STAGES:
        result = tool("prune", RECIPE, *tiny(), *first, "--stage", stage, "--work-dir", alone)
        assert (result.code, result.stderr) == (0, "")
        first = ()  # checkpoint and budget are the folder's own from here on
    same_run(folder, alone)


def test_search_from_selects_again_without_searching(finished, tool, tiny, baseline: Path, tmp_path: Path) -> None:
    """What its summary says of the search: test_latency_budget.py."""
    from compress.plan import WidthPlan, load_scores
    from compress.pruning import Budget, select
    from compress.spaces import load_model

    folder, _ = finished
    again = tmp_path / "again"
    first, printed = ("--checkpoint", baseline, "--macs-ratio", 0.7, "--search-from", folder), ""
    for stage in STAGES[:5]:
        result = tool("prune", RECIPE, *tiny(), *first, "--stage", stage, "--work-dir", again)
        assert (result.code, result.stderr) == (0, "")
        first, printed = (), printed + result.stdout
    assert not (again / "search").exists()
    assert f"  taken from {folder}\n" in printed
    assert (again / "scores.safetensors").read_bytes() == (folder / "scores.safetensors").read_bytes()
    _, space, card = load_model(folder / "searched")
    scores = load_scores(folder / "scores.safetensors")
    there = select(scores, space.operators(card.input_size), Budget("macs_ratio", 0.7), space=space.name)
    assert WidthPlan.load(again / "plan.json") == there
    rows = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == ["search", "search", "finetune", "finetune"]


def test_resuming_a_finished_run_changes_nothing(finished, tool, tiny) -> None:
    folder, result = finished
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    again = tool("prune", RECIPE, *tiny(), "--resume", "--work-dir", folder)
    assert (again.code, again.stderr) == (0, "")
    assert again.stdout == result.stdout[result.stdout.index("preresnet on digits") :]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before
