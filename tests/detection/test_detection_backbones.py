"""Backbones that are traced: masked equals sliced, the config alone rebuilds what is left, and a run prunes them."""

import json
from copy import deepcopy

import pytest
import torch
from drawn_coco import ONE_STAGE, RECIPE, RECIPES, UNEXPORTED, Silent, options_of, write_config
from run_tool import run_tool
from whole_detectors import dense_section, halved, spread_head

pytest.importorskip("mmdet")

from compress.costs import macs, params
from compress.detection import DetectorSpace
from compress.detection.export import compare_detections, export_detector
from compress.detection.run import load_config
from compress.detection.space import BackboneAlone, build_model
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError
from compress.pruning import Budget, SelectConfig, select, slice_model
from compress.search import random_scores
from compress.spaces import fold_scores, sizes
from compress.tracing import masked_outputs, outputs_of, randomise

TWO = {"num_stages": 2, "strides": [1, 2], "dilations": [1, 1], "out_indices": [0, 1]}
BACKBONES = {
    "ResNet": ({"depth": 50, "base_channels": 8, **TWO}, [32, 64]),
    "ResNeXt": ({"depth": 50, "groups": 4, "base_width": 4, "base_channels": 8, **TWO}, [32, 64]),
    "CSPNeXt": (
        {"deepen_factor": 0.167, "widen_factor": 0.125, "norm_cfg": {"type": "BN"}, "out_indices": [1, 2]},
        [16, 32],
    ),
    "PyramidVisionTransformer": (
        {"embed_dims": 16, "num_stages": 2, "num_layers": [1, 1], "num_heads": [1, 2], "patch_sizes": [4, 2]}
        | {"strides": [4, 2], "paddings": [0, 0], "sr_ratios": [2, 1], "mlp_ratios": [4, 4], "out_indices": [0, 1]}
        | {"pretrain_img_size": 64},
        [16, 32],
    ),
}
"""Type -> its settings here, and the channels that the neck reads."""
IMAGES = (3, 64, 64)


def section(kind, **more):
    own, channels = BACKBONES[kind]
    found = dense_section("FCOS")
    found["backbone"] = {"type": kind, **own, **more}
    found["neck"]["in_channels"] = channels
    return found


def space_of(kind, **more):
    return DetectorSpace(num_classes=80, model=section(kind, **more))


def network_of(space, seed=0):
    torch.manual_seed(seed)
    network = space.build().eval()
    with torch.no_grad():
        randomise(network.backbone, torch.Generator().manual_seed(seed))
    return network


def pruned(space, ratio=0.5):
    network = network_of(space)
    config = SelectConfig(round_to=1)
    operators = space.operators(IMAGES)
    plan = select(random_scores(space, seed=0), operators, Budget("pruning_ratio", ratio), config, space=space.name)
    return network, plan, *slice_model(network, space, plan)


@pytest.mark.parametrize("kind", BACKBONES)
def test_masked_equals_sliced_and_formulas_are_what_is_counted(kind):
    space = space_of(kind)
    network, plan, small, small_space = pruned(space)
    assert sizes(small_space.groups) == plan.widths
    assert sum(plan.widths.values()) < 0.6 * sum(plan.sizes.values())
    exact, images = deepcopy(network).double(), (torch.randn(1, *IMAGES, dtype=torch.float64),)
    masks = {name: torch.zeros(n, dtype=torch.float64) for name, n in plan.sizes.items()}
    for name, mask in masks.items():
        mask[list(plan.kept[name])] = 1
    wanted = masked_outputs(BackboneAlone(exact), space.groups, masks, images)
    for mine, theirs in zip(outputs_of(BackboneAlone(deepcopy(small).double()), images), wanted, strict=True):
        assert float((mine - theirs).abs().max()) <= 1e-10 * float(theirs.abs().max())
    for one, net in ((space, network), (small_space, small)):
        operators, widths = one.operators(IMAGES), sizes(one.groups)
        assert params(operators, widths) == sum(value.numel() for value in net.parameters())
    assert macs(operators, widths) < macs(space.operators(IMAGES), sizes(space.groups))


def test_folded_scores_leave_normalised_weights_their_size():
    space = space_of("ResNet")
    gated, scores = network_of(space).double(), {group.name: torch.full((group.size,), 0.1) for group in space.groups}
    folded, images = deepcopy(gated), (torch.randn(1, *IMAGES, dtype=torch.float64),)
    fold_scores(folded, space, scores)
    reader = "backbone.layer2.0.conv2"
    torch.testing.assert_close(folded.get_submodule(reader).weight, gated.get_submodule(reader).weight)
    wanted = masked_outputs(BackboneAlone(gated), space.groups, scores, images)
    for mine, theirs in zip(outputs_of(BackboneAlone(folded), images), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_config_alone_rebuilds_it_and_it_is_pruned_again(kind):
    _, plan, small, small_space = pruned(space_of(kind))
    again = DetectorSpace(num_classes=80, model=json.loads(json.dumps(small_space.config())))
    assert sizes(again.groups) == plan.widths
    build_model(small_space.config()).load_state_dict(small.state_dict())
    once_more = again.with_widths({again.groups[0].name: 1})
    assert next(iter(once_more.config()["backbone"]["widths"].values())) == 1
    _, smallest = slice_model(small, small_space, third(small_space))
    assert sum(sizes(smallest.groups).values()) < sum(plan.widths.values())


def third(space):
    operators = space.operators(IMAGES)
    budget, config = Budget("pruning_ratio", 0.3), SelectConfig(round_to=1)
    return select(random_scores(space, seed=1), operators, budget, config, space=space.name)


def test_frozen_stages_keep_their_widths_and_statistics():
    frozen, free = space_of("ResNet", frozen_stages=1, norm_eval=True), space_of("ResNet")
    assert {group.name for group in free.groups} - {group.name for group in frozen.groups} == {
        "backbone.conv1",
        *(f"backbone.layer1.{block}.conv{i}" for block in range(3) for i in (1, 2)),
    }
    assert all(group.kind == "channels" for group in free.groups)
    small = pruned(frozen)[2].train()
    learning = {name for name, value in small.backbone.named_parameters() if value.requires_grad}
    assert learning
    assert not any(name.startswith(("conv1", "bn1", "layer1")) for name in learning)
    assert not any(module.training for name, module in small.backbone.named_modules() if "bn" in name)


def test_a_sliced_resnet_is_exported(data, tmp_path):
    samples = [data.test[i] for i in range(2)]
    space = space_of("ResNet", depth=18, base_channels=32)
    small = halved(spread_head(pruned(space)[2]), samples, (128, 128))
    file = export_detector(small, tmp_path / "m.onnx", input_size=(3, 128, 128))
    assert compare_detections(small, file, samples)["n_detections"] > 5


@pytest.fixture(scope="module")
def detector(coco, tmp_path_factory):
    """A config with a ResNet, and weights for it."""
    folder = tmp_path_factory.mktemp("resnet")
    own, channels = BACKBONES["ResNet"]
    change = f"""
model["backbone"] = {{"type": "ResNet", "frozen_stages": 1, **{own}}}
model["neck"] = dict(type="FPN", in_channels={channels}, out_channels=16, num_outs=3)
"""
    file = write_config(folder / "resnet.py", coco, ONE_STAGE + change + UNEXPORTED)
    return file, DetectorSpace(num_classes=80, model=load_config(str(file)).model.to_dict()).build()


def test_training_starts_from_a_resnet_alone(detector, coco, tmp_path):
    file, network = detector
    own = {name.removeprefix("backbone."): value for name, value in network.state_dict().items() if "backbone" in name}
    torch.save({**own, "fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}, tmp_path / "alone.pth")
    recipe = load_recipe(RECIPE, options_of(file, coco, "seed=1"))
    with pytest.warns(UserWarning, match="holds a backbone alone; the weights of all else are random"):
        found, _ = make_context(recipe, Silent(), checkpoint=str(tmp_path / "alone.pth"), aim="train").baseline
    assert all(torch.equal(value, own[name]) for name, value in found.backbone.state_dict().items())


@pytest.mark.filterwarnings("ignore:stages export and measure will be left out")
def test_a_run_prunes_a_resnet_that_mmdetection_loads(detector, coco, tmp_path, capsys):
    file, network = detector
    torch.save({"state_dict": network.state_dict()}, tmp_path / "resnet.pth")
    run = tmp_path / "run"
    arguments = ("--checkpoint", tmp_path / "resnet.pth", "--work-dir", run, "--macs-ratio", 0.8)
    code = run_tool("prune", RECIPE, *arguments, "--cfg-options", *options_of(file, coco))
    assert code == 0, capsys.readouterr().err
    from mmdet.apis import init_detector

    theirs = init_detector(str(run / "model.py"), str(run / "model.pth"), device="cpu")
    assert type(theirs.backbone).__name__ == "ResNet"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["params"]["after"] == sum(value.numel() for value in theirs.parameters())
    assert summary["macs"]["after"] <= 0.8 * summary["macs"]["before"]


@pytest.mark.parametrize("name", ["mask_rcnn_r50_coco", "mask_rcnn_r50_tiny_coco_mini"])
def test_the_recipes_detectors_have_two_groups_in_every_bottleneck(name):
    model = load_config(str(RECIPES / f"mmdet/{name}.py")).model.to_dict()
    groups = DetectorSpace(num_classes=80, model=model).groups
    blocks = {group.name.rpartition(".")[0] for group in groups if group.name.count(".") > 1}
    assert len(blocks) == (16 if "tiny" in name else 13)
    assert len([group for group in groups if group.name.count(".") > 1]) == 2 * len(blocks)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"dcn": {"type": "DCN"}, "stage_with_dcn": [False, True]},
            r"backbone\.layer2\.0\.conv2 is a DeformConv2dPack, which needs an operator that this MMCV",
        ),
        ({"depth": 51}, "MMDetection refuses its model section .*51"),
    ],
)
def test_backbones_that_cannot_be_traced_are_refused_in_one_line(change, says):
    with pytest.raises(UserError, match=says) as caught:
        space_of("ResNet", **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("widths", "says"),
    [
        ({"layer2_9_conv1": 3}, "'layer2_9_conv1' is no group of this backbone; it has "),
        ({"layer2_0_conv1": 17}, r"layer2_0_conv1 = 17: must be a whole number, 1 to 16"),
    ],
)
def test_widths_of_a_config_that_do_not_fit_are_refused(widths, says):
    own = section("ResNet")
    own["backbone"] = {"type": "SlicedBackbone", "of": own["backbone"], "widths": widths}
    with pytest.raises(UserError, match=says):
        DetectorSpace(num_classes=80, model=own)


def test_what_a_backbone_is_of_is_a_registered_class():
    own = section("ResNet")
    own["backbone"] = {"type": "SlicedBackbone", "of": {"type": "os.system", "command": "true"}}
    with pytest.raises(UserError, match=r"model\.backbone\.of\.type = 'os\.system': must be the name of a class"):
        DetectorSpace(num_classes=80, model=own)
