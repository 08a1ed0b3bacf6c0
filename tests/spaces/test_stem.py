"""Checkpoints of RGB images in networks of grey levels and of four channels: the first convolution's rule."""

import pytest
import torch

from compress.plan import UserError
from compress.spaces import SPACES, load_state, make_space

ARCHS = {
    "preresnet": ({"depth": 11, "num_classes": 10}, "conv1.weight", 32),
    "mobilenetv2": ({"num_classes": 10}, "conv_stem.weight", 32),
    "swin": (
        {
            "num_classes": 10,
            "model": "swin_tiny_patch4_window7_224",
            "input_size": 32,
            "options": {"window_size": 4, "patch_size": 2, "embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2]},
        },
        "patch_embed.proj.weight",
        32,
    ),
    "traced": ({"num_classes": 10, "model": "resnet18"}, "conv1.weight", 64),
}


@pytest.mark.parametrize("space", ARCHS)
@pytest.mark.parametrize("channels", [1, 4])
def test_a_checkpoint_of_rgb_images(space, channels):
    arch, stem, side = ARCHS[space]
    torch.manual_seed(0)
    rgb = make_space(space, arch).build().eval()
    other = make_space(space, {**arch, "in_channels": channels}).build().eval()
    done = "summed for 1 channel" if channels == 1 else "repeated and scaled for 4"
    with pytest.warns(UserWarning, match=f"rgb.pth: {stem} reads RGB there and was {done}; the network is not exactly"):
        load_state(other, rgb.state_dict(), source="rgb.pth")
    image = torch.randn(2, 1, side, side)
    with torch.inference_mode():
        there, here = rgb(image.expand(-1, 3, -1, -1)), other(image.expand(-1, channels, -1, -1))
    if channels == 1:
        assert torch.allclose(there, here, atol=1e-4 * float(there.abs().max())), "grey levels give what they gave"
    else:
        weight = rgb.state_dict()[stem]
        assert torch.equal(other.state_dict()[stem], torch.cat([weight, weight[:, :1]], 1) * 0.75)
        assert here.shape == there.shape


def test_other_differences_are_refused_as_ever():
    assert "preresnet" in SPACES
    other = make_space("preresnet", {"depth": 11, "num_classes": 10, "in_channels": 1}).build()
    state = make_space("preresnet", {"depth": 20, "num_classes": 10}).build().state_dict()
    with pytest.raises(UserError, match=r"^rgb\.pth: "):
        load_state(other, state, source="rgb.pth")
