"""A comparison of detectors by protocol, on drawn images, from its unpruned networks to its verdicts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import _protocol  # noqa: E402
import rivals  # noqa: E402
from _detector_rival import DetectorRival  # noqa: E402

PROTOCOL = ROOT / "benchmarks/sidt_drawn.json"


@pytest.fixture
def values():
    found = json.loads(PROTOCOL.read_text())
    rivals.shorten(found)
    return found


def test_images_set_aside_are_of_the_training_images_and_none_is_trained_on(values, tmp_path):
    aside, all_of_it = (DetectorRival(values, str(tmp_path), None, tmp_path, 1, share).data for share in (0.2, 0.0))
    trained, judged = ({one.get_data_info(i)["img_path"] for i in range(len(one))} for one in (aside.train, aside.test))
    assert (len(trained), len(judged)) == (16, 4)
    assert not trained & judged
    whole = all_of_it.train
    assert trained | judged == {whole.get_data_info(i)["img_path"] for i in range(len(whole))}
    assert {Path(all_of_it.test.get_data_info(i)["img_path"]).parent.name for i in range(6)} == {"val2017"}


def test_another_detector_is_another_unpruned_network(values, tmp_path, monkeypatch):
    ours = DetectorRival(values, str(tmp_path), None, tmp_path, 1, 0.0)
    stem = ours.stem
    ours.data.config.model.rpn_head.loss_bbox.loss_weight = 2.0
    assert ours.stem != stem


@pytest.mark.slow
def test_quick_goes_from_unpruned_networks_to_verdicts(values, tmp_path, monkeypatch, capsys):
    for method in values["methods"].values():
        del method["trials"][1:]
    values.update(seeds=[1], budgets=["pruned-0.4"])
    monkeypatch.setattr(
        rivals, "shorten", lambda given: given["data"]["drawn"].update(counts={"train2017": 10, "val2017": 2})
    )
    protocol = tmp_path / "small.json"
    protocol.write_text(json.dumps(values))
    for module in (_protocol, rivals):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for step in ("--train", "--tune", "--run", "--gather"):
        command = ["rivals.py", str(protocol), "--data", str(tmp_path / "data"), "--methods", "rarts", "random"]
        monkeypatch.setattr(sys, "argv", [*command, "--quick", step])
        assert rivals.main() == 0, step
    cells = [
        json.loads((tmp_path / f"runs/small/pruned-0.4 {name} 1.json").read_text()) for name in ("rarts", "random")
    ]
    unpruned = json.loads((tmp_path / "runs/small/unpruned 1.json").read_text())
    assert {"sliced", "bbox_mAP", "segm_mAP"} <= unpruned.keys(), "before and after as much training as the others have"
    for cell in cells:
        assert {"sliced", "bbox_mAP", "segm_mAP"} <= cell.keys()
        assert 0.4 < cell["macs_ratio"] < 0.8
        assert 0.4 < cell["params_ratio"] < 0.9
    assert cells[0]["macs_ratio"] != cells[1]["macs_ratio"], "other dimensions went"
    assert not list((tmp_path / "runs/baselines").glob("* started")), "nothing is left of the training"
    shown = " ".join(capsys.readouterr().out.split())
    assert "rarts and random cannot be told apart by one seed" in shown
    assert "points of mask AP" in shown
