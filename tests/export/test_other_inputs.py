"""Networks of grey images and of four channels whose images are no squares: sliced, counted, exported, read back."""

import numpy as np
import pytest
import torch

from compress.costs import count_macs, macs
from compress.export import export_onnx, export_pixels, onnx_session
from compress.export.convert import onnx_metadata
from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.spaces import Card, TracedSpace, load_model, make_space, save_model, sizes
from compress.tracing import traced

SWIN = {"window_size": 4, "patch_size": 4, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4]}
VIT = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
ARCHS = {
    "preresnet": {"depth": 11},
    "mobilenetv2": {},
    "swin": {"model": "swin_tiny_patch4_window7_224", "options": SWIN},
    "vit": {"model": "deit_tiny_patch16_224", "options": VIT},
    "traced": {"model": "resnet10t"},
}


GREY, FOUR = (1, 32, 64), (4, 64, 32)


@pytest.mark.parametrize(
    ("name", "size"), [("preresnet", GREY), ("mobilenetv2", FOUR), ("swin", GREY), ("vit", FOUR), ("traced", GREY)]
)
def test_from_slicing_to_a_file_and_back(tmp_path, name, size):
    torch.manual_seed(0)
    sized = {"input_size": list(size[1:])} if name in ("swin", "vit") else {}
    space = make_space(name, {"num_classes": 5, "in_channels": size[0], **ARCHS[name], **sized})
    space = traced(space, size) if isinstance(space, TracedSpace) else space
    full = sizes(space.groups)
    kept = {group: tuple(range(n - n // 4)) for group, n in full.items()}
    plan = WidthPlan(space.name, full, kept)
    small, small_space = slice_model(space.build(), space, plan)
    assert macs(space.operators(size), plan.widths) == count_macs(small, size)
    statistics = {"mean": [0.5] * size[0], "std": [0.5] * size[0]}
    card = Card(space.name, small_space.arch, tuple("abcde"), {"input_size": list(size), **statistics})
    save_model(tmp_path / "model", small.eval(), card)
    again, _, card = load_model(tmp_path / "model")
    assert card.input_size == size
    images = torch.randn(3, *size)
    with torch.inference_mode():
        wanted = small.eval()(images)
        assert torch.equal(again(images), wanted)
    if name != "swin":  # whose windows are laid out anew in exported files
        return
    export_onnx(again, tmp_path / "model.onnx", input_size=size, metadata=onnx_metadata(card))
    (logits,) = onnx_session(tmp_path / "model.onnx").run(None, {"images": images.numpy()})
    assert np.abs(logits - wanted.numpy()).max() < 1e-4
    export_pixels(tmp_path / "model.onnx", tmp_path / "pixels.onnx")
    bytes_NHWC = np.random.default_rng(0).integers(0, 256, (3, *size[1:], size[0]), dtype=np.uint8)
    normalised = ((bytes_NHWC.astype(np.float32) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    (wanted,) = onnx_session(tmp_path / "model.onnx").run(None, {"images": normalised})
    (found,) = onnx_session(tmp_path / "pixels.onnx").run(None, {"images": bytes_NHWC})
    assert np.abs(found - wanted).max() < 1e-4


def test_a_transformer_of_another_size_than_the_images_is_refused():
    space = make_space("swin", {"num_classes": 5, **ARCHS["swin"], "input_size": [32, 64]})
    with pytest.raises(UserError, match=r"space.input_size = \(32, 64\): the images have 64 x 32 pixels; set it to"):
        space.operators((3, 64, 32))
    with pytest.raises(UserError, match=r"space.input_size = 0: must be a whole number"):
        make_space("swin", {"num_classes": 5, **ARCHS["swin"], "input_size": [32, 0]})
