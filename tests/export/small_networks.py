"""The networks of every space, small and full size, whole and pruned, and real images for them.

Weights are random. BatchNorm statistics have moved a tenth of the way from (0, 1) to those of the images: without it
layers are degenerate, and moved all the way random MobileNetV2s multiply a rounding error until classes change. Only
PreResNet-164's have moved all the way: its 54 blocks would add up to more than float16 can hold.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compress.export import export_onnx
from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace, VitSpace, sizes
from compress.topology.space import DartsCellsSpace, NatsCellsSpace

SWIN_T = "swin_tiny_patch4_window7_224"
SHALLOW = {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}
DARTS = """Genotype(
    normal=[('sep_conv_3x3', 0), ('dil_conv_3x3', 1), ('sep_conv_5x5', 1), ('skip_connect', 2),
            ('dil_conv_5x5', 0), ('max_pool_3x3', 3), ('avg_pool_3x3', 2), ('skip_connect', 0)],
    normal_concat=range(2, 6),
    reduce=[('avg_pool_3x3', 0), ('skip_connect', 1), ('max_pool_3x3', 1), ('sep_conv_3x3', 2),
            ('dil_conv_5x5', 0), ('sep_conv_5x5', 1), ('skip_connect', 0), ('dil_conv_3x3', 4)],
    reduce_concat=range(2, 6))"""
NATS = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
SPACES = {
    "preresnet": (PreResNetSpace(depth=11, num_classes=10), 32),
    "mobilenetv2": (MobileNetV2Space(num_classes=10, multiplier=0.35), 32),
    # 36 pixels are 9 x 9 patches, then 5 x 5: windows of 4 need padding, and every second block shifts them.
    "swin": (SwinSpace(num_classes=5, model=SWIN_T, input_size=36, options=SHALLOW), 36),
    "vit": (VitSpace(5, "vit_small_patch16_224", input_size=32, options={"depth": 2, "patch_size": 8}), 32),
    "darts": (DartsCellsSpace(10, DARTS, channels=4, layers=3, score_states=True), 32),
    "nats": (NatsCellsSpace(10, NATS, channels=4, layers=1), 32),
}
FULL_SIZE = {
    "preresnet20": (PreResNetSpace(depth=20, num_classes=10), 32),
    "preresnet164": (PreResNetSpace(depth=164, num_classes=10), 32),
    "mobilenetv2_224": (MobileNetV2Space(num_classes=1000), 224),
    "swin_t": (SwinSpace(1000, SWIN_T), 224),
    "deit_small": (VitSpace(1000, "deit_small_patch16_224"), 224),
}
MARGIN = 1e-2
"""Of the largest logit: three times what float16 was seen to change one by."""
CASES = [(name, pruned) for name in SPACES for pruned in (False, True)]
FULL_CASES = [(name, pruned) for name in FULL_SIZE for pruned in (False, True)]
SLOW = {("darts", False), ("darts", True), ("mobilenetv2", False), ("swin", False), ("vit", True), ("nats", True)}
"""Of CASES: all take long to export, and a twin that stays, whole or pruned, has the same operators."""


def params(*cases):
    """Parameters of tests of `cases`, by names as 'swin_t_pruned'."""
    return [
        pytest.param(
            case, id=case[0] + "_pruned" * case[1], marks=[pytest.mark.slow] * (case in SLOW or case[0] in FULL_SIZE)
        )
        for case in cases
    ]


@lru_cache
def photographs():
    """The two photographs that scikit-learn ships, normalised: float32 [2, 3, 427, 640]."""
    from sklearn.datasets import load_sample_images

    pixels = torch.from_numpy(np.stack(load_sample_images().images))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (pixels.permute(0, 3, 1, 2) / 255 - mean) / std


def real_images(side, n):
    """`n` crops of the photographs, from a third of their height to all of it, at `side` pixels: [n, 3, side, side]."""
    generator = torch.Generator().manual_seed(n)
    crops = []
    for index in range(n):
        image = photographs()[index % 2]
        size = int(torch.randint(142, 428, (), generator=generator))
        top, left = (int(torch.randint(length - size + 1, (), generator=generator)) for length in image.shape[1:])
        crop = image[None, :, top : top + size, left : left + size]
        crops.append(F.interpolate(crop, (side, side), mode="bilinear", antialias=True))
    return torch.cat(crops)


def decided_images(model, side, n):
    """The first `n` of 4 n such crops whose class float16 does not change.

    The first logit of `model` leads the second by more than MARGIN of the largest logit.
    """
    images_BCHW = real_images(side, 4 * n)
    chosen = images_BCHW[decided(model, images_BCHW)][:n]
    assert len(chosen) == n
    return chosen


def decided(model, images_BCHW):
    """bool [B]: for which of `images_BCHW` the first logit leads the second by more than MARGIN of the largest."""
    with torch.inference_mode():
        logits_BK = model(images_BCHW)
    first, second = logits_BK.topk(2, dim=1).values.T
    return first - second > MARGIN * logits_BK.abs().max()


def network(name, *, pruned=False):
    """The network, in eval mode, and its input's shape."""
    space, side = (SPACES | FULL_SIZE)[name]
    if pruned:
        space = space.with_widths({group: max(1, round(0.6 * n)) for group, n in sizes(space.groups).items()})
    torch.manual_seed(0)
    model = space.build()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if name == "preresnet164":
        for norm in norms:
            norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            model.train()(real_images(side, 8))
    return model.eval(), (3, side, side)


@lru_cache
def onnx_bytes(name, pruned):
    """The network as an ONNX file's content; exporting takes most of the time, so it is kept for tests that follow."""
    model, size = network(name, pruned=pruned)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        return export_onnx(model, path, input_size=size, metadata={"classes": '["a"]'}).read_bytes()


def onnx_file(folder, name, *, pruned=False):
    path = folder / f"{name}.onnx"
    path.write_bytes(onnx_bytes(name, pruned))
    return path
