"""Checkpoints: our own come back bit by bit in any process, foreign ones are read without running their code."""

import json
import os
import pickle
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.spaces import Card, PreResNetSpace, load_card, load_model, load_state, read_state, save_model, sizes

ROOT = Path(__file__).resolve().parents[2]
PREPROCESSING = {
    "input_size": [3, 8, 8],
    "resize": None,
    "interpolation": "bilinear",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}
SPACE = PreResNetSpace(11, 4, score_inputs=True)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = SPACE.build()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.num_batches_tracked.fill_(7)
    return model.eval()


@pytest.fixture(scope="module")
def sliced(model):
    kept = {name: tuple(range(0, n, 3)) for name, n in sizes(SPACE.groups).items()}
    return slice_model(model, SPACE, WidthPlan("preresnet", sizes(SPACE.groups), kept))


def card(space):
    return Card("preresnet", space.arch, ("a", "b", "c", "d"), PREPROCESSING, "0f" * 32)


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[n], other[n]) for n in state)


def test_a_sliced_network_comes_back_in_a_fresh_process_bit_by_bit(sliced, tmp_path):
    small, small_space = sliced
    run = tmp_path / "run"
    save_model(run / "model", small, card(small_space))
    code = """
import sys, torch, compress
torch.set_num_threads(1)
model = compress.load(sys.argv[1])
assert not model.training and model.card.classes == ("a", "b", "c", "d")
assert model.card.plan_sha256 == "0f" * 32 and model.card.input_size == (3, 8, 8)
x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    torch.save([model.state_dict(), model(x)], sys.argv[2])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, run, tmp_path / "out.pt"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    state, logits = torch.load(tmp_path / "out.pt", weights_only=True)
    assert same(state, small.state_dict())
    assert {name for name in state if name.endswith("index")} == {g.index for g in small_space.groups if g.index}
    with torch.no_grad():
        expected = small(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(logits, expected)


def test_the_unpruned_network_and_its_card_come_back_by_any_of_its_names(model, tmp_path):
    save_model(tmp_path / "model", model, card(SPACE))
    for name in (tmp_path, tmp_path / "model", tmp_path / "model.json", str(tmp_path / "model.safetensors")):
        loaded, space, found = load_model(name)
        assert same(loaded.state_dict(), model.state_dict())
        assert space == SPACE
        assert found == card(SPACE)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_a_stem_may_have_a_dot(model, sliced, tmp_path):
    save_model(tmp_path / "v1.0", model, card(SPACE))
    save_model(tmp_path / "v1.1", sliced[0], card(sliced[1]))
    for name in ("v1.0", "v1.0.json", "v1.0.safetensors"):
        assert same(load_model(tmp_path / name)[0].state_dict(), model.state_dict())


def test_broken_cards_are_refused_by_name(model, sliced, tmp_path):
    save_model(tmp_path / "model", model, card(SPACE))
    whole = json.loads((tmp_path / "model.json").read_text())
    for change, message in (
        ({"format": 2}, r"model\.json: format = 2: this version reads format 1; use the version of compress"),
        ({"space": "vgg"}, r"model\.json: .*unknown space"),
        ({"arch": None}, "arch = None: must be an object"),
        ({"arch": {**whole["arch"], "depth": 12}}, "depth"),
        ({"arch": {**whole["arch"], "widths": {"layer1.0.conv1": 99}}}, r"layer1\.0\.conv1"),
        ({"arch": {**whole["arch"], "num_classes": 5}}, "num_classes = 5: must be the number of classes, 4"),
        (
            {"arch": {**whole["arch"], "num_classes": 5}, "classes": list("abcde")},
            r"another architecture.*fc\.weight \(4, 256\) instead of",
        ),
        ({"preprocessing": {}}, r"preprocessing\.input_size is missing"),
        ({"preprocessing": {"input_size": [8, 8]}}, "must have at least 3 items"),
        ({"classes": None}, "classes = None: must be a valid array"),
    ):
        (tmp_path / "model.json").write_text(json.dumps({**whole, **change}))
        with pytest.raises(UserError, match=message):
            load_model(tmp_path)
    for text in ("[]", "{", "null", "{}"):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(UserError, match=r"model\.json: (not|format|the whole)"):
            load_card(tmp_path)
    with pytest.raises(UserError, match="other: no such file or folder"):
        load_model(tmp_path / "other")
    (tmp_path / "model.json").write_text(json.dumps(whole))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: no such file"):
        load_model(tmp_path)
    (tmp_path / "text").touch()
    with pytest.raises(
        UserError, match=r"text: is no network, nor has it one beside it, text\.json; give a run's folder"
    ):
        load_card(tmp_path / "text")


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: prefixed("module.", s),
        lambda s: {"state_dict": prefixed("module.", s), "epoch": 3, "best_prec1": 91.7},
        lambda s: {"model": s, "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}}},
        lambda s: {"model_state_dict": prefixed("_orig_mod.module.", s)},
        lambda s: {"state_dict": {"state_dict": prefixed("module._orig_mod.", s)}},
        lambda s: {**s, "epoch": 3, 0: torch.zeros(1)},
    ],
    ids=["plain", "module", "wrapped-module", "model", "compiled", "twice", "surplus"],
)
def test_foreign_checkpoints_are_unwrapped(model, tmp_path, suffix, wrap):
    torch.save(wrap(model.state_dict()), tmp_path / f"net{suffix}")
    state = read_state(tmp_path / f"net{suffix}")
    assert same(state, model.state_dict())
    fresh = SPACE.build()
    load_state(fresh, state, source="net")
    assert same(fresh.state_dict(), model.state_dict())


class Malicious:
    """Unpickling it makes a folder."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_code_in_a_checkpoint_does_not_run_unless_trusted(tmp_path):
    target = tmp_path / "ran"
    torch.save({"state_dict": {"w": torch.zeros(1)}, "extra": Malicious(target)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malicious(target), protocol=2))
    legacy = tmp_path / "legacy.pth"
    torch.save({"w": torch.zeros(1), "extra": Malicious(target)}, legacy, _use_new_zipfile_serialization=False)
    for name in ("zip.pth", "plain.pth", "legacy.pth"):
        with pytest.raises(UserError, match=rf"{name}: .*--trust-checkpoint") as refusal:
            read_state(tmp_path / name)
        assert "\n" not in str(refusal.value)
        assert not target.exists(), name
    assert read_state(tmp_path / "zip.pth", trust=True).keys() == {"w"}
    assert target.exists(), "trusting means running it"


def test_pickled_settings_and_networks_are_read_when_trusted(model, tmp_path):
    torch.save({"state_dict": model.state_dict(), "args": Namespace(lr=0.1)}, tmp_path / "args.pth")
    torch.save({"model": model}, tmp_path / "network.pth")
    torch.save(model, tmp_path / "bare.pth")
    for name in ("args.pth", "network.pth", "bare.pth"):
        with pytest.raises(UserError, match="--trust-checkpoint"):
            read_state(tmp_path / name)
        assert same(read_state(tmp_path / name, trust=True), model.state_dict())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_corrupt_files_are_refused_in_one_line(model, tmp_path, suffix, trust):
    file = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save(model.state_dict(), file)
    else:
        save_model(tmp_path / "net", model, card(SPACE))
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[:64] = b"\x80" * 64
    for content in (
        b"",
        whole[:1000],
        whole[:5000],
        whole[:-100],
        b"not a checkpoint\n",
        b"\x80\x02}q\x00.",
        bytes(flipped),
        b"PK\x03\x04",
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"^--checkpoint .*net{suffix}: ") as refusal:
            read_state(file, trust=trust)
        assert "\n" not in str(refusal.value)


def test_absent_files_and_files_without_weights_are_refused(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(UserError, match="no such file"):
            read_state(path)
    for value in ({}, [torch.zeros(1)], {"epoch": 3}, torch.zeros(3), {"state_dict": {}}):
        torch.save(value, tmp_path / "net.pth")
        with pytest.raises(UserError, match="holds no state dict"):
            read_state(tmp_path / "net.pth")


def test_keys_that_differ_are_named(model):
    state = model.state_dict()
    lacking = {name: value for name, value in state.items() if name not in ("fc.bias", "layer1.0.bn1.running_var")}
    with pytest.raises(UserError, match=r"net: .*; 2 missing: layer1\.0\.bn1\.running_var, fc\.bias; set the recipe"):
        load_state(SPACE.build(), lacking, source="net")
    with pytest.raises(UserError, match=r"1 unexpected: extra\.weight;"):
        load_state(SPACE.build(), {**state, "extra.weight": torch.zeros(1)}, source="net")
    deeper = PreResNetSpace(20, 4).build()
    with pytest.raises(UserError, match=r"\d+ missing: layer1\.1\.bn1\.weight, .*, \.\.\.;"):
        load_state(deeper, state, source="net")
    with pytest.raises(UserError, match=r"\d+ unexpected: layer1\.1\.bn1\.weight"):
        load_state(SPACE.build(), deeper.state_dict(), source="net")
    other = PreResNetSpace(11, 9).build()
    with pytest.raises(UserError, match=r"2 of another shape: fc\.weight \(4, 256\) instead of \(9, 256\), fc\.bias"):
        load_state(other, state, source="net")


def test_counters_of_batches_may_be_absent(model):
    """Checkpoints older than PyTorch 0.4.1 have none."""
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    fresh = SPACE.build()
    load_state(fresh, state, source="net")
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in state.items())
    assert int(fresh.bn.num_batches_tracked) == 0


def test_a_real_foreign_checkpoint_is_read_and_refused_with_its_keys_named():
    """He's CIFAR ResNet-20: not a pre-activation network."""
    file = ROOT.parent / "shared/data/checkpoints/cifar10_resnet20.th"
    if not file.exists():
        pytest.skip("needs shared/data/checkpoints/cifar10_resnet20.th beside the repository")
    state = read_state(file)
    assert state["conv1.weight"].shape == (16, 3, 3, 3)
    assert not any(name.startswith("module.") for name in state)
    with pytest.raises(UserError, match=r"another architecture; \d+ missing: .*unexpected: .*set the recipe"):
        load_state(PreResNetSpace(20, 10).build(), state, source=file)
