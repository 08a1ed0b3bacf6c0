"""Damaged and malicious checkpoints and scores: read, or refused in one line that names what is wrong."""

import zipfile

import pytest
import torch
from campaign import obeys, tally
from damage import campaign, in_little_memory
from safetensors.torch import save_file

from compress.plan import UserError, load_scores, save_scores
from compress.spaces import Card, PreResNetSpace, load_model, load_state, read_state, save_model

SPACE = PreResNetSpace(11, 4, score_inputs=True)
COUNTS = [pytest.param(30, id="sample"), pytest.param(300, id="all", marks=pytest.mark.faults)]


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return SPACE.build().state_dict()


SMALL = {"conv.weight": torch.arange(24.0).view(2, 3, 2, 2), "bn.running_var": torch.ones(2), "n": torch.tensor(3)}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("form", ["zip.pth", "legacy.pth", "plain.safetensors"])
def test_damaged_checkpoints(tmp_path, form, count):
    file = tmp_path / form
    if form.endswith("safetensors"):
        save_file(SMALL, file)
    else:
        torch.save({"state_dict": SMALL}, file, _use_new_zipfile_serialization=form == "zip.pth")
    campaign(f"damaged {form}", file, file.read_bytes(), count, read_state)


@pytest.mark.parametrize("count", COUNTS)
def test_damaged_scores(tmp_path, count):
    file = tmp_path / "scores.safetensors"
    save_scores(file, {"layer1.0.conv1": torch.rand(16), "layer1.0.conv2": torch.rand(16)})
    campaign("damaged scores", file, file.read_bytes(), count, load_scores)


def with_value(tensor, value, dtype=None):
    changed = tensor.clone().to(dtype or tensor.dtype)
    changed.flatten()[-1] = value
    return changed


WRONG = {
    "sparse": (lambda w: w.to_sparse(), "fc.weight is sparse"),
    "csr": (lambda w: w.to_sparse_csr(), "fc.weight is sparse"),
    "meta": (lambda w: torch.empty_like(w, device="meta"), "fc.weight is without data"),
    "quantised": (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "fc.weight is quantised qint8"),
    "nested": (lambda w: torch.nested.nested_tensor([w[0], w[1, :2]]), "nested"),
    "huge view": (lambda w: torch.zeros(1).expand(10**12), "most of them fc.weight [1000000000000]"),
    "nan": (lambda w: with_value(w, float("nan")), r"fc.weight[3, 255] = nan, and 1 of its 1024"),
    "inf": (lambda w: with_value(w, float("inf")), "= inf"),
    "half inf": (lambda w: with_value(w, float("-inf"), torch.float16), "= -inf"),
    "beyond float32": (lambda w: with_value(w, 1e300, torch.float64), "= 1e+300"),
    "bool": (lambda w: w > 0, "fc.weight is bool; must be floating-point"),
    "integer": (lambda w: w.long(), "fc.weight is int64; must be floating-point"),
    "complex": (lambda w: w.to(torch.complex64), "complex64"),
    "float8": (lambda w: w.to(torch.float8_e4m3fn), "float8_e4m3fn"),
    "unsigned": (lambda w: w.to(torch.uint16), "uint16"),
    "of no size": (lambda w: torch.zeros(0), "of another shape"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", WRONG)
def test_weights_of_wrong_kinds(state, tmp_path, kind):
    make, says = WRONG[kind]
    file = tmp_path / "net.pth"
    torch.save({**state, "fc.weight": make(state["fc.weight"])}, file)
    message = obeys(lambda: load_state(SPACE.build(), read_state(file), source=file), source="net.pth")
    assert message is not None
    assert says in message
    tally("weights of wrong kinds", 1, 1)


def test_a_view_of_a_trillion_numbers_takes_no_memory(state, tmp_path):
    file = tmp_path / "net.pth"
    for name, huge in (
        ("one", torch.zeros(1).expand(10**12)),
        ("bytes", torch.zeros(1, dtype=torch.int8).expand(10**12)),
    ):
        torch.save({**state, name: huge}, file)
        message = in_little_memory(lambda: read_state(file), source="net.pth")
        assert f"most of them {name} [1000000000000]" in message


def test_zip_entries_that_claim_more_than_the_file_has(state, tmp_path):
    torch.save(state, tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as stored, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as bomb:
        for entry in stored.infolist():
            bomb.writestr(entry, stored.read(entry))
        bomb.writestr("archive/blob", bytes(30 << 20), zipfile.ZIP_DEFLATED)
    message = in_little_memory(lambda: read_state(tmp_path / "bomb.pth"), source="bomb.pth")
    assert "its entries claim 3" in message


def test_wrappers_and_prefixes_end(tmp_path):
    file = tmp_path / "net.pth"
    circle: dict = {}
    circle["state_dict"] = {"model": circle}
    for value, says in (
        (circle, "holds no state dict"),
        ({"module.": torch.zeros(1)}, None),
        ({"module." * 100_000 + "w": torch.zeros(1)}, None),
    ):
        torch.save(value, file)
        message = obeys(lambda: read_state(file), source="net.pth")
        assert (message is None) if says is None else says in message
    torch.save({"module.": torch.zeros(1), "module.w": torch.zeros(1)}, file)
    assert read_state(file).keys() == {"module.", "module.w"}
    torch.save({"a\nb\x1b[31m": torch.zeros(1)}, file)
    message = obeys(lambda: load_state(SPACE.build(), read_state(file), source="net.pth"), source="net.pth")
    assert r"1 unexpected: 'a\nb\x1b[31m'" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_converted_and_that_is_said_once(state, dtype):
    stored = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    network = SPACE.build()
    with pytest.warns(UserWarning, match=f"net: 55 tensors are {str(dtype)[6:]}; converted to float32") as said:
        load_state(network, stored, source="net")
    assert len(said) == 1
    assert all(torch.equal(value, stored[name].to(value.dtype)) for name, value in network.state_dict().items())


def test_variances_and_counts_and_gathers(tmp_path):
    preprocessing = {"input_size": [3, 8, 8], "resize": None, "interpolation": "bilinear", "mean": [0.5] * 3}
    space = SPACE.with_widths({"head.input": 100})
    card = Card("preresnet", space.arch, ("a", "b", "c", "d"), {**preprocessing, "std": [0.5] * 3})
    save_model(tmp_path / "model", space.build(), card)
    state = load_model(tmp_path)[0].state_dict()
    for name, value, says in (
        ("bn.running_var", -torch.ones(100), "bn.running_var = -1 at its smallest"),
        ("bn.num_batches_tracked", torch.tensor(1.5), "bn.num_batches_tracked is float32; must be integers"),
        ("select.index", torch.full((100,), 10**9), "select.index = "),
        ("select.index", torch.arange(100).flip(0), "ascending channels from 0 to 255"),
        ("select.index", torch.arange(157, 257), "ascending channels from 0 to 255"),
        ("select.index", torch.arange(-1, 99), "ascending channels from 0 to 255"),
    ):
        save_file({**state, name: value.contiguous()}, tmp_path / "model.safetensors")
        message = obeys(lambda: load_model(tmp_path), source="model.safetensors")
        assert says in message


def test_scores_of_wrong_kinds(tmp_path):
    file = tmp_path / "scores.safetensors"
    for value, says in (
        (torch.tensor(1.0), "g is float32 []"),
        (torch.ones(2, 2), "g is float32 [2, 2]"),
        (torch.ones(0), "g is float32 [0]"),
        (torch.ones(3, dtype=torch.float64), "g is float64 [3]"),
        (torch.ones(3, dtype=torch.int64), "g is int64 [3]"),
        (torch.tensor([1.0, float("nan")]), "g[1] = nan"),
        (torch.tensor([float("inf"), 1.0]), "g[0] = inf"),
    ):
        save_file({"g": value}, file)
        assert says in obeys(lambda: load_scores(file), source="scores.safetensors")
    save_file({}, file)
    with pytest.raises(UserError, match="holds no scores"):
        load_scores(file)
