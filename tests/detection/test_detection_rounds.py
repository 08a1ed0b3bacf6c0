"""A detector pruned in two rounds: the second searches what the first left of its backbone."""

import json

import pytest
import torch
from drawn_coco import ONE_STAGE, RECIPE, UNEXPORTED, options_of, write_config
from run_tool import run_tool

pytest.importorskip("mmdet")
from compress.detection import DetectorSpace
from compress.detection.run import load_config
from compress.plan import WidthPlan
from compress.spaces import load_model, sizes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:stages export and measure will be left out")
def test_the_second_round_searches_what_the_first_left(coco, tmp_path, capsys):
    file = write_config(tmp_path / "retina.py", coco, ONE_STAGE + UNEXPORTED)
    network = DetectorSpace(num_classes=80, model=load_config(str(file)).model.to_dict()).build()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "retina.pth")
    run = tmp_path / "run"
    arguments = ("--checkpoint", tmp_path / "retina.pth", "--work-dir", run, "--macs-ratio", 0.8, "--steps", 2)
    code = run_tool("prune", RECIPE, *arguments, "--cfg-options", *options_of(file, coco))
    assert code == 0, capsys.readouterr().err
    first, second = (WidthPlan.load(folder / "plan.json") for folder in (run / "step1", run))
    assert all({*second.kept[name]} <= {*kept} for name, kept in first.kept.items())
    assert second.record["macs"]["after"] < first.record["macs"]["after"] < second.record["macs"]["before"]
    small, space, _ = load_model(run)
    assert sizes(space.groups) == second.widths
    summary = json.loads((run / "summary.json").read_text())
    assert summary["params"]["after"] == sum(p.numel() for p in small.parameters())
    assert {"params", "macs", "bbox_mAP"} <= summary["steps"][0].keys()
