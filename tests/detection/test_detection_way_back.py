"""From a pruned detector back: MMDetection's training of it, a second pruning, and its backbone in another detector."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from drawn_coco import ONE_STAGE, RECIPE, Silent, options_of, write_config

pytest.importorskip("mmdet")
from mmengine.logging.history_buffer import HistoryBuffer

from compress.detection.checkpoints import write_mmdetection
from compress.detection.config_file import load_config
from compress.detection.data import CocoData, DetectionData
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.spaces import Card, save_model, sizes


def plan_of(space, step):
    """Every `step`-th channel of every group goes."""
    kept = {name: tuple(i for i in range(n) if (i + 1) % step) for name, n in sizes(space.groups).items()}
    return WidthPlan(space.name, sizes(space.groups), kept)


@pytest.fixture(scope="module")
def pruned(space, network, config, coco, tmp_path_factory):
    """A run's folder with a pruned detector, MMDetection's config and checkpoint of it, and the detector."""
    folder = tmp_path_factory.mktemp("run")
    data = CocoData(config, DetectionData(root=str(coco), input_size=(128, 128)))
    small, small_space = slice_model(network, space, plan_of(space, 3))
    save_model(folder / "model", small, Card(space.name, small_space.arch, data.classes, data.preprocessing))
    write_mmdetection(folder / "model", small, small_space, data)
    return folder, small


@pytest.fixture(scope="module")
def epoch(pruned, tmp_path_factory):
    """What MMDetection's training of the pruned detector leaves: other weights, and its logs."""
    _, small = pruned
    state = {name: value.detach().clone() for name, value in small.state_dict().items()}
    state["neck.lateral_convs.0.conv.bias"] += 1
    logs = {"log_scalars": {"train/loss": HistoryBuffer([2.0], [1])}}
    path = tmp_path_factory.mktemp("trained") / "epoch_12.pth"
    torch.save({"meta": {"epoch": 12}, "state_dict": state, "message_hub": logs, "optimizer": {"state": {}}}, path)
    return path, state


def baseline(config_file, coco, checkpoint, **options):
    recipe = load_recipe(RECIPE, options_of(config_file, coco))
    return make_context(recipe, Silent(), checkpoint=str(checkpoint), **options).baseline


def test_what_mmdetection_trained_is_read_by_the_pruned_config(pruned, epoch, coco):
    folder, _ = pruned
    path, state = epoch
    network, space = baseline(folder / "model.py", coco, path)
    assert space.widths == {}, "its full widths are the pruned ones"
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_the_unpruned_config_does_not_take_it_and_says_which_does(epoch, config_file, coco):
    with pytest.raises(
        UserError, match=r"epoch_12\.pth: .*pruned.*set space\.config to the config that it was"
    ) as told:
        baseline(config_file, coco, epoch[0])
    assert "\n" not in str(told.value)


def test_a_run_and_its_own_pruned_config_do_not_go_together(pruned, coco):
    folder, _ = pruned
    with pytest.raises(
        UserError, match=r"--checkpoint .*: its widths are counted from the unpruned config, .*model\.pth"
    ):
        baseline(folder / "model.py", coco, folder)


@pytest.mark.parametrize("source", ["MMDetection's checkpoint", "the run's folder"])
def test_a_pruned_detector_is_pruned_again(pruned, epoch, config_file, coco, tmp_path, source):
    """Exactly: the masked network is the sliced one. Its config builds it in MMDetection, whatever it was made of."""
    from mmdet.registry import MODELS

    folder, _ = pruned
    given = (folder / "model.py", epoch[0]) if source.startswith("MM") else (config_file, folder)
    network, space = baseline(given[0], coco, given[1])
    plan = plan_of(space, 4)
    smaller, smaller_space = slice_model(network.eval(), space, plan)
    assert sizes(smaller_space.groups) == plan.widths
    masked = masked_backbone(network, space, plan)
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        for one, other in zip(smaller.backbone(images), masked(images), strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))
    data = CocoData(load_config(str(given[0])), DetectionData(root=str(coco)))
    write_mmdetection(tmp_path / "model", smaller, smaller_space, data)
    theirs = MODELS.build(load_config(str(tmp_path / "model.py")).model)
    theirs.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True)["state_dict"])
    with torch.no_grad():
        assert all(map(torch.equal, theirs.eval().backbone(images), smaller.backbone(images)))


def masked_backbone(network, space, plan):
    """The backbone with the plan's channels set to zero at their readers."""
    masked = deepcopy(network)
    state = masked.state_dict()
    for group in space.groups:
        gone = sorted(set(range(group.size)).difference(plan.kept[group.name]))
        for piece in group.slices:
            for name in [name for name in state if name.rpartition(".")[0] == piece.module]:
                if piece.includes(name.rpartition(".")[2], state[name]):
                    positions = piece.layout.positions(gone, group.size)
                    state[name].index_fill_(piece.axis, positions, 0.0)
    return masked.eval().backbone


def test_the_pruned_backbone_serves_in_another_detector(pruned, coco, tmp_path):
    """As docs/detection.md has it: its section, and `init_cfg` with the pruned detector's checkpoint."""
    from mmdet.registry import MODELS

    folder, small = pruned
    config = load_config(str(folder / "model.py"))
    another = load_config(str(write_config(tmp_path / "retina.py", coco, ONE_STAGE)))
    backbone = dict(config.model.backbone)
    backbone["init_cfg"] = {"type": "Pretrained", "checkpoint": str(folder / "model.pth")}
    another.model.backbone = {**backbone, "out_indices": [1, 2, 3]}
    another.model.neck.in_channels = config.model.neck.in_channels[1:]
    detector = MODELS.build(another.model)
    detector.init_weights()
    images, own = torch.randn(1, 3, 96, 128), detector.eval().backbone
    with torch.no_grad():
        assert all(map(torch.equal, own(images), small.backbone(images)[1:]))
    # And compress trains and prunes it.
    recipe = load_recipe(RECIPE, options_of(written(another, tmp_path), coco))
    state = {name: value for name, value in small.state_dict().items() if name.startswith("backbone.")}
    torch.save(state, tmp_path / "backbone.pth")  # with the norm of a level that this detector does not read
    with pytest.warns(UserWarning, match="holds a backbone alone"):
        ours, space = make_context(recipe, Silent(), checkpoint=str(tmp_path / "backbone.pth"), aim="train").baseline
    assert torch.equal(ours.state_dict()["backbone.stages.0.blocks.0.attn.w_msa.qkv.weight"],
                       state["backbone.stages.0.blocks.0.attn.w_msa.qkv.weight"])  # fmt: skip
    assert max(sizes(space.groups).values()) < 1024


def written(config, folder) -> Path:
    config.dump(str(folder / "another.py"))
    return folder / "another.py"
