"""Which weights a run is given: averaged or plain ones, folders of the Hub, and what is said of what does not fit.

Some fifteen seconds.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compress.pipeline.checkpoint import checkpoint_record
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError
from compress.spaces import PreResNetSpace

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
BUDGET = ("--pruning-ratio", 0.4)

Refused = Callable[..., str]


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return PreResNetSpace(11, 10).build()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as timm saves it."""
    path = tmp_path_factory.mktemp("both") / "both.pth"
    torch.save({"state_dict": network(1).state_dict(), "state_dict_ema": network(2).state_dict()}, path)
    return path


def loaded(folder: Path) -> tuple[dict, dict]:
    stages, record = (json.loads((folder / f"{name}.json").read_text()) for name in ("stages", "recipe"))
    return stages["load"], record["checkpoint"]


def is_of(folder: Path, seed: int) -> bool:
    saved, wanted = load_file(folder / "baseline.safetensors"), network(seed).state_dict()
    return all(torch.equal(saved[name], value) for name, value in wanted.items())


def test_averaged_weights_are_taken_said_and_recorded(tool, tiny, refused: Refused, both: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = ("prune", RECIPE, *tiny(), *BUDGET, "--stage", "load", "--checkpoint", both)
    result = tool(*command, "--work-dir", folder)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith(
        f"  --checkpoint {both}: holds plain weights (state_dict) and averaged ones (state_dict_ema): takes the "
        "averaged; --no-ema takes the plain\n"
    )
    assert is_of(folder, 2)
    assert loaded(folder)[0]["weights"] == "averaged"
    assert "ema" not in loaded(folder)[1]
    refused(
        *("prune", RECIPE, *tiny(), *BUDGET, "--resume", "--no-ema"),
        work_dir=folder,
        says=("other settings", "checkpoint.ema: None there, False now"),
    )
    plain = tmp_path / "plain"
    assert tool(*command, "--no-ema", "--work-dir", plain).code == 0
    assert is_of(plain, 1)
    assert (loaded(plain)[0]["weights"], loaded(plain)[1]["ema"]) == ("plain", False)


def test_averaged_weights_that_are_not_there_are_refused(
    refused: Refused, tiny, baseline: Path, both: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plain.pth"
    torch.save(network(1).state_dict(), path)
    command = ("prune", RECIPE, *tiny(), *BUDGET, "--use-ema", "--checkpoint")
    refused(*command, path, says=("--use-ema", "plain.pth holds no averaged weights", "leave it away"))
    refused(*command, baseline, says=("--use-ema", "a network of ours, which has one set", "leave it away"))
    refused("train", RECIPE, *tiny(), "--use-ema", says=("--use-ema", "none is given", "--checkpoint"))


def test_a_run_that_goes_on_takes_the_same_weights(both: Path) -> None:
    began = checkpoint_record(str(both), {}, loaded=False, ema=False)
    assert checkpoint_record(None, {"checkpoint": began}, loaded=False) == began
    assert checkpoint_record(str(both), {"checkpoint": began}, loaded=False) == began
    for file, done in ((str(both), False), (None, True)):
        assert checkpoint_record(file, {"checkpoint": began}, loaded=done, ema=True)["ema"] is True


class Silent:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


def baseline_of(checkpoint: Path, *options: str, recipe: str = "any/classifier", **pixels: object) -> tuple:
    """The network and its space that a run of `recipe` on digits gets, and what is said meanwhile."""
    data = {"_delete_": True, "type": "digits", "limit": 40, **pixels}
    progress = Silent()
    context = make_context(load_recipe(recipe, [f"data={data}", *options]), progress, checkpoint=str(checkpoint))
    return *context.baseline, progress.said


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as timm's `save_for_hf` writes it, of a tiny network of 10 classes."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hub") / "test_resnet"
    save_for_hf(timm.create_model("test_resnet", num_classes=10), folder, safe_serialization=True)
    return folder


MODEL = "space.model=test_resnet"


def test_a_folder_of_the_hub_gives_its_weights_and_warns_of_other_pixels(hub: Path) -> None:
    with pytest.warns(UserWarning, match="was trained on pixels prepared otherwise") as caught:
        network, space, said = baseline_of(hub, MODEL)
    (text,) = (str(each.message) for each in caught)
    assert text.startswith(f"--checkpoint {hub}: ")
    assert "input_size = [3, 160, 160] there, [3, 32, 32] in the recipe" in text
    assert "\n" not in text
    saved = load_file(hub / "model.safetensors")
    assert space.model == "test_resnet"
    assert said == []
    assert all(torch.equal(value, saved[name]) for name, value in network.state_dict().items() if name in saved)


def test_what_does_not_fit_of_a_folder_of_the_hub_is_one_line(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a test_resnet, but space\.model = 'resnet18'; set space\.model to test_resn"):
        baseline_of(hub)
    for config, says in (
        ({"model_type": "vit", "architectures": ["ViTForImageClassification"]}, "model_type = 'vit', so it is no"),
        ({}, "no architecture, so it is no folder of timm's"),
        ({"architecture": 3}, r"config\.json: architecture = 3"),
        ({"architecture": "resnet18"}, r"has config\.json, but no model\.safetensors or pytorch_model\.bin"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match=says) as refusal:
            checkpoint_record(str(tmp_path), {}, loaded=False)
        assert str(refusal.value).startswith(f"--checkpoint {tmp_path}: ")
        assert "\n" not in str(refusal.value)
        (tmp_path / "pytorch_model.bin").unlink(missing_ok=True)
        if "model_type" in config:
            torch.save({"vit.x": torch.zeros(1)}, tmp_path / "pytorch_model.bin")


def test_weights_of_a_folder_of_the_hub_may_be_a_pickle_of_plain_tensors(hub: Path, tmp_path: Path) -> None:
    config = json.loads((hub / "config.json").read_text())
    config["pretrained_cfg"] |= {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 32, 32]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(load_file(hub / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network, _, _ = baseline_of(tmp_path, MODEL, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert torch.equal(network.fc.weight, load_file(hub / "model.safetensors")["fc.weight"])


def test_a_folder_of_neither_kind_says_what_was_looked_for(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"neither a finished run, with model\.safetensors and model\.json, nor timm's"):
        checkpoint_record(str(tmp_path), {}, loaded=False)


def test_a_checkpoint_of_another_family_names_families_and_the_recipe_of_any(tmp_path: Path) -> None:
    import timm

    torch.save(timm.create_model("resnet10t", num_classes=10).state_dict(), tmp_path / "r.pth")
    torch.save(network(1).state_dict(), tmp_path / "p.pth")
    for recipe, file, says in (
        (
            "width/mobilenetv2_tiny_imagenet20_rarts",
            "p.pth",
            ["look like those of a PreResNet; set the recipe's space", "preresnet, "],
        ),
        ("width/mobilenetv2_tiny_imagenet20_rarts", "p.pth", ["any/classifier with --cfg-options space.model=NAME"]),
        (
            "width/preresnet20_digits_rarts",  # most of whose names a ResNet has, too
            "r.pth",
            ["look like those of timm's ResNet; set the recipe's space", "space.model=NAME (resnet50d, ...)"],
        ),
        ("any/classifier", "p.pth", ["set space.model to the checkpoint's network, such as "]),
    ):
        with pytest.raises(UserError, match="another architecture") as refusal:
            baseline_of(tmp_path / file, *(("space.model=test_resnet",) if "any" in recipe else ()), recipe=recipe)
        assert [part for part in says if part not in str(refusal.value)] == []
        assert "\n" not in str(refusal.value)
