"""Rewritten modules compute what timm's compute, and the exported graphs have the nodes that engines run fast."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import timm
import torch

from compress.export import export_onnx, inference_copy, onnx_session
from compress.export.rewriting import rewrite
from compress.plan import WidthPlan
from compress.pruning import slice_model
from compress.spaces import SwinSpace, sizes
from compress.spaces.partial_blocks import take_out

SMALL = {"patch_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "num_classes": 5}
CASES = {
    "windows that fit": {"img_size": 64, "window_size": 4},
    "padding": {"img_size": 56, "window_size": 4},
    "a window larger than the grid": {"img_size": 32, "window_size": 7},
    "oblong": {"img_size": (64, 88), "window_size": (4, 3)},
}


def swin(**options):
    torch.manual_seed(0)
    model = timm.create_model("swin_tiny_patch4_window7_224", **(SMALL | options)).eval()
    with torch.no_grad():  # timm starts biases at zero and position tables near it
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def images(model, batch=3):
    return torch.randn(batch, 3, *model.patch_embed.img_size, generator=torch.Generator().manual_seed(1))


def largest_difference(given, wanted):
    return float((given - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fused", [False, True])
def test_a_rewritten_swin_computes_what_timm_computes(case, fused):
    model = swin(**CASES[case])
    for block in (block for stage in model.layers for block in stage.blocks):
        block.attn.fused_attn = fused
    x = images(model)
    with torch.inference_mode():
        wanted = inference_copy(model)(x)
        given = rewrite(inference_copy(model), opset=18)(x)
    assert largest_difference(given, wanted) < 2e-6


def test_a_rewritten_sliced_swin_computes_what_the_sliced_one_computes():
    options = {"window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
    space = SwinSpace(5, "swin_tiny_patch4_window7_224", input_size=64, options=options)
    torch.manual_seed(0)
    full = sizes(space.groups)
    plan = WidthPlan(space.name, full, {name: tuple(range(0, n, 3)) for name, n in full.items()})
    model = slice_model(space.build().eval(), space, plan)[0]
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert largest_difference(rewrite(copy.deepcopy(model), opset=18)(x), model(x)) < 2e-6


def test_stages_with_masks_that_depend_on_the_image_keep_their_forward():
    model = swin(img_size=64, window_size=4)
    model.layers[0].blocks[1].dynamic_mask = True
    rewrite(model, opset=18)
    assert ["forward" in vars(stage) for stage in model.layers] == [False, True]
    assert "forward" not in vars(model.layers[0].blocks[0])


def test_a_stage_with_a_subclass_of_timms_block_keeps_its_forward():
    model = swin(img_size=64, window_size=4)
    block = model.layers[0].blocks[0]
    block.__class__ = type("Mine", (type(block),), {})
    rewrite(model, opset=18)
    assert ["forward" in vars(stage) for stage in model.layers] == [False, True]


@pytest.mark.parametrize("gone", [("layers.0.blocks.1.attn",), ("layers.0.blocks.0.attn", "layers.0.blocks.1.attn")])
def test_tokens_pass_blocks_without_attention_as_they_lie(gone):
    model = swin(**CASES["windows that fit"])
    for branch in gone:
        take_out(model, branch)
    model.layers[0].blocks[1].attn.bias.data.normal_()
    x = images(model)
    with torch.inference_mode():
        assert largest_difference(rewrite(copy.deepcopy(model), opset=18)(x), model(x)) < 2e-6


def operators(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


DECOMPOSED, ONE_STAGE = (18, {}), {"depths": (2,), "num_heads": (2,)}


@pytest.fixture(scope="module", params=[DECOMPOSED, (20, ONE_STAGE)], ids=["18", "20"])
def exported(request, tmp_path_factory):
    """An opset, the number of blocks of a Swin, the network, and its file."""
    opset, options = request.param
    model = swin(**CASES["windows that fit"], **options)
    path = export_onnx(model, tmp_path_factory.mktemp("swin") / "swin.onnx", input_size=(3, 64, 64), opset=opset)
    return opset, 2 * len(model.layers), model, path


def test_exported_swin_moves_tokens_once_a_block_and_scatters_nothing(exported):
    opset, blocks, model, path = exported
    found = operators(path)
    # Out of the map, to the next block's windows, and back.
    assert found["Gather"] == sum(
        len(stage.blocks) + 1 for stage in model.layers if stage.blocks[1].attn_mask is not None
    )
    assert found["Gemm"] == 1, "the classifier"
    assert not {"ScatterND", "ScatterElements", "Loop", "If", "Concat"} & set(found)
    assert found["Gelu"] == (blocks if opset == 20 else 0)
    x = images(model)
    (logits,) = onnx_session(path).run(None, {"images": x.numpy()})
    with torch.inference_mode():
        assert largest_difference(torch.from_numpy(logits), model(x)) < 1e-5


@pytest.mark.parametrize("exported", [DECOMPOSED], indirect=True, ids=["18"])
def test_onnx_runtime_runs_each_gelu_and_each_bias_of_a_product_as_one_node(exported, tmp_path):
    _, blocks, _, path = exported
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3  # that optimised files belong to one machine
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = operators(tmp_path / "optimised.onnx")
    assert found["Gelu"] == blocks
    assert found["Erf"] == 0
    assert found["Gemm"] == 4 * blocks + 1
    assert found["Add"] == 3 * blocks, "of the bias of positions, and of two branches"


def test_gelus_of_a_vit_are_rewritten_and_approximate_ones_are_not():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=3).eval()
    model.blocks[0].mlp.act = torch.nn.GELU(approximate="tanh")
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        wanted = model(x)
        rewritten = rewrite(copy.deepcopy(model), opset=18)
        np.testing.assert_allclose(rewritten(x), wanted, atol=2e-6)
    assert type(rewritten.blocks[0].mlp.act) is torch.nn.GELU
    assert type(rewritten.blocks[1].mlp.act) is not torch.nn.GELU
    assert type(rewrite(copy.deepcopy(model), opset=20).blocks[1].mlp.act) is torch.nn.GELU
