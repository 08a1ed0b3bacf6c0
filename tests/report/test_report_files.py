"""What the report reads: required and damaged files, metrics of a resumed run, and what it imports."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import compress.report
from compress.plan import UserError
from compress.report import read_metrics, write_report

SUMMARY = {
    "format": 1,
    "model": "preresnet",
    "dataset": "digits",
    "params": {"before": 200, "after": 100},
    "macs": {"before": 3000, "after": 1000},
}


def test_summary_alone_makes_a_page(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    page = write_report(str(tmp_path))
    assert page == tmp_path / "report.html"
    assert "3.00 times fewer MACs." in page.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format = 2: this version reads format 1; use the version of compress that wrote it, or run"),
        ({"macs": {"before": 3}}, "macs.after is missing; run the report stage again"),
        ({"params": None}, "params = None: must be an object"),
    ],
)
def test_bad_summary_leaves_no_page(tmp_path, change, message):
    with pytest.raises(UserError, match=r"summary\.json: no such file"):
        write_report(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY | change))
    with pytest.raises(UserError, match=message):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_scores_of_another_search_are_refused(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "plan.json").write_text(
        json.dumps({"format": 1, "space": "x", "groups": {"conv1": {"size": 18, "kept": [0, 1]}}})
    )
    save_file({"conv1": np.ones(16, dtype=np.float32)}, tmp_path / "scores.safetensors")
    with pytest.raises(UserError, match=r"'conv1' has 16 scores, plan\.json says 18"):
        write_report(tmp_path)
    save_file({"conv1": np.ones(18, dtype=np.float32)}, tmp_path / "scores.safetensors")
    assert write_report(tmp_path).exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scores.safetensors", b"half a file", "not a safetensors file"),
        ("plan.json", b'{"format": 1, "space": "x", "groups": {"a": {"size": 18}}}', "groups.a.kept is missing"),
        ("complexity.json", b'{"format": 2, "operators": []}', "format = 2: this version reads format 1"),
        ("complexity.json", b'{"macs": {}}', "format is missing: must be 1; run the slice stage again"),
        ("latency.json", b"[1, 2]", r"the whole file = \[1, 2\]: must be an object; run the measure"),
        ("parity.json", b'{"baseline": ', "not valid JSON"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        write_report(tmp_path)
    assert name in str(caught.value)


def test_metrics_of_a_killed_and_resumed_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"stage": "search", "epoch": 1, "loss": 1.0}, {"stage": "search", "epoch": 2, "loss": 2.0}]
    rows += [{"stage": "search", "epoch": 2, "loss": 0.5}, {"stage": "finetune", "epoch": 1, "loss": 0.4}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text + '{"stage": "finetune", "ep')
    assert read_metrics(path) == [rows[0], rows[2], rows[3]]
    path.write_text('{"stage": "sea\n' + text)
    with pytest.raises(UserError, match="line 1: not valid JSON"):
        read_metrics(path)
    path.write_text('{"loss": 1.0}\n')
    with pytest.raises(UserError, match="line 1: stage is missing"):
        read_metrics(path)
    with pytest.raises(UserError, match="no such file"):
        read_metrics(tmp_path / "other.jsonl")


def test_report_imports_only_the_plan_room_and_nothing_heavy():
    folder = Path(compress.report.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names.append(node.module)
            for name in names:
                assert name.split(".")[0] not in {"torch", "numpy", "rich", "matplotlib", "safetensors"}, path.name
                assert not name.startswith("compress") or name.startswith("compress.plan"), path.name
