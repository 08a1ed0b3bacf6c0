"""Detectors as a search space: thesis counts, formulas equal counts, and masked equals sliced to the last detection."""

import json
from contextlib import ExitStack, contextmanager
from copy import deepcopy

import pytest
import torch
from drawn_coco import FULL, write_config

pytest.importorskip("mmdet")
from mmengine.dataset import pseudo_collate

from compress.costs import Costed, breakdown, params
from compress.detection import DetectorSpace
from compress.detection.data import CocoData, DetectionData, head_classes
from compress.detection.run import load_config
from compress.detection.space import BackboneAlone
from compress.detection.task import DetectionTask
from compress.plan import UserError
from compress.pruning import Budget, SelectConfig, select, slice_model
from compress.search import random_scores
from compress.spaces import Alphas, fold_scores, make_space, sizes

SIZE = (3, 96, 128)
MASK_RCNN = "mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py"
RETINANET = "mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py"


def space_of(path):
    model = load_config(str(path)).model.to_dict()
    return DetectorSpace(num_classes=head_classes(model), model=model)


def plan_of(space, ratio, size=SIZE):
    """Random scores, pruned as the recipes for detectors do."""
    scores = random_scores(space, seed=0)
    budget, config = Budget("pruning_ratio", ratio), SelectConfig(ranking="kind")
    return select(scores, space.operators(size), budget, config, space=space.name)


@contextmanager
def masked(network, plan):
    """`network` with all but the kept features zeroed, by hooks of our own, from the groups' names alone."""
    with ExitStack() as hooks:
        for name, n in plan.sizes.items():
            mask = torch.zeros(n, dtype=next(network.parameters()).dtype)
            mask[list(plan.kept[name])] = 1
            module = network.get_submodule(name)
            if name.endswith(".w_msa"):  # q, k and v of all heads
                copies = mask.repeat(3 * module.num_heads)
                handle = module.qkv.register_forward_hook(lambda _, args, output, mask=copies: output * mask)
            else:
                handle = module.layers[1].register_forward_pre_hook(lambda _, args, mask=mask: (args[0] * mask,))
            hooks.callback(handle.remove)
        yield


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def batch_of(data, indices=(0, 1)):
    """Padded, normalised images of different sizes, and their samples."""
    return pseudo_collate([data.test[i] for i in indices])


@torch.no_grad()
def maps_of(network, batch):
    """Maps of all levels, which are what the FPN reads, for raw images."""
    images = network.data_preprocessor(deepcopy(batch), training=False)["inputs"]
    return network.backbone(images.to(next(network.parameters()).dtype))


@torch.no_grad()
def detections_of(network, batch):
    return [sample.pred_instances for sample in network.test_step(deepcopy(batch))]


def check_masked_equals_sliced(network, space, plan, batch):
    """Maps in float64 to 1e-12; detections in float32, as MMDetection pastes masks in no other type."""
    small, small_space = slice_model(network, space, plan)
    assert sizes(small_space.groups) == plan.widths
    assert not small.training
    with masked(network, plan):
        found = detections_of(network, batch)
    for ours, theirs in zip(detections_of(small, batch), found, strict=True):
        assert len(ours) == len(theirs) > 0
        assert torch.equal(ours.labels, theirs.labels)
        assert relative(ours.scores, theirs.scores) <= 1e-4
        assert relative(ours.bboxes, theirs.bboxes) <= 1e-4
        assert (ours.masks != theirs.masks).float().mean() <= 1e-3  # a half exactly may fall to either side
    exact = deepcopy(network).double()
    with masked(exact, plan):
        expected = maps_of(exact, batch)
    whole, levels = maps_of(exact, batch), maps_of(slice_model(exact, space, plan)[0], batch)
    for level, wanted, unpruned in zip(levels, expected, whole, strict=True):
        assert relative(level, wanted) <= 1e-12
        assert relative(unpruned, wanted) > 1e-3, "the mask matters"


@pytest.mark.parametrize("ratio", [0.2, 0.6])
def test_masked_equals_sliced_in_maps_and_detections(network, space, data, ratio):
    check_masked_equals_sliced(network, space, plan_of(space, ratio), batch_of(data))


def test_gated_equals_folded_and_sliced(network, space, data):
    plan, batch = plan_of(space, 0.5), batch_of(data)
    scores = random_scores(space, seed=1)
    for name, score in scores.items():
        score += 0.5
        score[[i for i in range(len(score)) if i not in plan.kept[name]]] = 0
    gated, folded = deepcopy(network).double(), deepcopy(network).double()
    alphas = Alphas(space.groups).double()
    alphas.attach(gated)
    opened, plain = maps_of(gated, batch), maps_of(folded, batch)
    assert all(torch.equal(a, b) for a, b in zip(opened, plain, strict=True)), "gates of ones change nothing"
    alphas.load_scores(scores)
    fold_scores(folded, space, scores)
    maps = maps_of(gated, batch)
    for other in (folded, slice_model(folded, space, plan)[0]):
        assert all(relative(a, b) <= 1e-12 for a, b in zip(maps_of(other, batch), maps, strict=True))


def test_formulas_are_what_is_counted_before_and_after_slicing(network, space):
    plan = plan_of(space, 0.4)
    small, small_space = slice_model(network, space, plan)
    for operators, widths in (
        (space.operators(SIZE), plan.widths),
        (small_space.operators(SIZE), sizes(small_space.groups)),
    ):
        full = Costed(BackboneAlone(network), space.operators(SIZE), sizes(space.groups))
        costs = breakdown(full, Costed(BackboneAlone(small), operators, widths), groups=space.groups, input_size=SIZE)
        for side, net in (("before", network), ("after", small)):
            assert costs["params"][side]["formula"] == sum(p.numel() for p in net.parameters())
        assert costs["macs"]["after"]["formula"] < 0.8 * costs["macs"]["before"]["formula"]


def test_macs_of_the_first_block_by_hand(space):
    """24 x 32 patches are padded to 28 x 35, which are 20 windows of 49 tokens; one head of 32 dimensions."""
    macs = {op.name: op for op in space.operators(SIZE)}
    block = "backbone.stages.0.blocks.0"
    tokens = 20 * 49
    assert macs[f"{block}.attn.w_msa.qkv"].macs == 3 * tokens
    assert macs[f"{block}.attn.w_msa.products"].macs == 2 * 20 * 49**2
    assert macs[f"{block}.ffn.layers.0.0"].macs == 24 * 32
    assert not any(op.macs for name, op in macs.items() if not name.startswith("backbone."))


def test_a_space_goes_through_json(space):
    pruned = space.with_widths(plan_of(space, 0.4).widths)
    for one in (space, pruned):
        again = make_space("detector", json.loads(json.dumps(one.arch)))
        assert again == one
        assert again.groups == one.groups
        shapes = [{k: v.shape for k, v in s.empty().state_dict().items()} for s in (one, again)]
        assert shapes[0] == shapes[1]
    assert sizes(pruned.groups) != sizes(space.groups)


def test_a_sliced_detector_is_sliced_again(network, space, data):
    small, small_space = slice_model(network, space, plan_of(space, 0.3))
    check_masked_equals_sliced(small, small_space, plan_of(small_space, 0.3), batch_of(data))


def test_building_is_seeded_and_downloads_nothing(space):
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(space.build().state_dict())
    assert all(torch.equal(networks[0][name], value) for name, value in networks[1].items())
    pretrained = deepcopy(dict(space.model))
    pretrained["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": "https://nowhere.invalid/swin.pth"}
    assert DetectorSpace(num_classes=80, model=pretrained) == space


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"backbone": {"type": "ResNet", "depth": 18, "frozen_stages": 4}},
            r"backbone, ResNet, is not scored: no chan",
        ),
        ({"backbone": None}, "backbone is None"),
        ({"type": "NoSuchDetector"}, r"space\.config: model\.type = 'NoSuchDetector': must be the name of a class"),
        ({"neck": {"type": "FPN", "in_channels": [1]}}, r"MMDetection refuses.*TypeError"),
    ],
)
def test_other_models_are_refused(space, change, says):
    with pytest.raises(UserError, match=says) as caught:
        DetectorSpace(num_classes=80, model={**space.model, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("widths", "says"),
    [
        ({"backbone.stages.0.blocks.9.ffn": 3}, "has no such group"),
        ({"backbone.stages.0.blocks.0.ffn": 0}, "1 to 128"),
        ({"backbone.stages.0.blocks.0.ffn": 129}, "1 to 128"),
    ],
)
def test_widths_out_of_range_are_refused(space, widths, says):
    with pytest.raises(UserError, match=says):
        space.with_widths(widths)


def test_the_full_detector_has_the_thesis_parameters():
    """Table 4.6, millions in the backbone and in all: 28, 86; 22, 80; 16, 74. Here the scores are random."""
    space = space_of(FULL)
    assert len(space.groups) == 2 * (2 + 2 + 6 + 2)
    network, operators = space.empty(), space.operators((3, 32, 32))
    own = [op for op in operators if op.name.startswith("backbone.")]
    whole = [params(part, sizes(space.groups)) for part in (own, operators)]
    assert whole == [sum(p.numel() for p in part.parameters()) for part in (network.backbone, network)]
    assert whole == [27_520_698, 85_629_804]
    scored = sum(p.numel() for name, p in network.named_parameters() if is_scored(space, name))
    for ratio, thesis in ((0.2, (22, 80)), (0.4, (16, 74))):
        budget, config = Budget("pruning_ratio", ratio), SelectConfig(ranking="kind")
        plan = select(random_scores(space, seed=0), operators, budget, config, space=space.name)
        for part, full, published in zip((own, operators), whole, thesis, strict=True):
            found = params(part, plan.widths)
            assert found == pytest.approx(full - ratio * scored, rel=0.01)
            assert abs(found / 1e6 - published) < 1.6


def is_scored(space, name):
    """Whether a parameter has a row or a column for every dimension of a group."""
    module, _, parameter = name.rpartition(".")
    return any(
        piece.module == module and (piece.axis == 0 or parameter == "weight")
        for group in space.groups
        for piece in group.slices
    )


@pytest.mark.slow
def test_masked_equals_sliced_at_full_size(coco, tmp_path, randomised):
    file = write_config(tmp_path / "full.py", coco, base=FULL)
    config = load_config(str(file))
    space = space_of(file)
    network, data = randomised(space), CocoData(config, DetectionData())
    check_masked_equals_sliced(network, space, plan_of(space, 0.4), batch_of(data))


@pytest.mark.slow
@pytest.mark.parametrize(("path", "levels"), [(MASK_RCNN, 4), (RETINANET, 3)])
def test_detectors_that_mmdetection_brings_along(coco, tmp_path, path, levels):
    file = write_config(tmp_path / "theirs.py", coco, base=path)
    text = file.read_text()
    assert "rpn_proposal" in text
    start, end = text.index("model = dict("), text.index("train_pipeline")
    file.write_text(text[:start] + text[end:])  # their heads keep their settings
    config = load_config(str(file))
    config.merge_from_dict({"train_dataloader.dataset.ann_file": "annotations/instances_train2017.json"})
    space = space_of(file)
    assert len(space.groups) == 2 * (2 + 2 + 6 + 2)
    data = CocoData(config, DetectionData(root=str(coco)))
    torch.manual_seed(0)
    network = space.build()
    loss = DetectionTask(data).loss(network, pseudo_collate([data.train[0]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)
    small, _ = slice_model(network.eval(), space, plan_of(space, 0.4))
    maps = BackboneAlone(small)(torch.zeros(1, 3, 64, 96))
    assert [level.shape[1] for level in maps] == [96, 192, 384, 768][-levels:]
