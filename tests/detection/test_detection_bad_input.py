"""Checkpoints and bad input through the tools: official layouts are converted, all else is one line and exit code 2."""

import json
import shutil

import pytest
import torch
from drawn_coco import RECIPE, TWIN, Silent, annotation_file, options_of
from run_tool import run_tool

pytest.importorskip("mmdet")
from compress.detection import DetectorSpace
from compress.detection.run import in_mmdetection_layout
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError
from compress.spaces import Card, save_model


@pytest.fixture
def refused(tmp_path, capsys, config_file, coco):
    """Run a tool that must refuse: one line on stderr, exit code 2, nothing written."""

    def run(tool, *arguments, says, config=config_file, root=coco, recipe=RECIPE, more=()):
        work = tmp_path / "work"
        capsys.readouterr()
        options = ["--cfg-options", *options_of(config, root, *more)]
        code = run_tool(tool, recipe, "--work-dir", work, *arguments, *options)
        out = capsys.readouterr()
        assert code == 2, out.err
        lines = out.err.splitlines()
        assert len(lines) == 1, out.err
        assert lines[0].startswith("error: ")
        assert [part for part in says if part not in lines[0]] == [], lines[0]
        assert out.out == ""
        assert not work.exists()
        return lines[0]

    return run


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    """A plain MMDetection checkpoint of the twin."""
    path = tmp_path_factory.mktemp("checkpoint") / "twin.pth"
    torch.save({"meta": {"epoch": 12}, "state_dict": network.state_dict()}, path)
    return path


# Checkpoints


def official(state):
    """`state` as the detectors of the Swin repository name and order it: the inverse of MMDetection's converter."""
    renamed = {"stages.": "layers.", "attn.w_msa.": "attn.", "ffn.layers.0.0.": "mlp.fc1.", "ffn.layers.1.": "mlp.fc2."}
    found = {}
    for name, value in state.items():
        if not name.startswith("backbone."):
            found[name] = value
            continue
        for ours, theirs in {**renamed, "patch_embed.projection": "patch_embed.proj"}.items():
            name = name.replace(ours, theirs, 1)
        if "downsample." in name:  # their merging concatenates pixels, MMDetection's unfolds them
            rows, columns = (len(value), value.shape[1]) if value.dim() == 2 else (1, len(value))
            value = value.reshape(rows, columns // 4, 4).transpose(1, 2)[:, [0, 2, 1, 3]].reshape(value.shape)
        found[name] = value
        if name.endswith("blocks.1.attn.proj.bias"):
            found[f"{name.partition('attn')[0]}attn_mask"] = torch.zeros(4, 49, 49)
    return found


def baseline(path, config_file, coco):
    recipe = load_recipe(RECIPE, options_of(config_file, coco))
    return make_context(recipe, Silent(), checkpoint=str(path)).baseline


def test_official_checkpoints_are_converted(network, config_file, coco, data, tmp_path):
    state = official(network.state_dict())
    assert "backbone.layers.0.blocks.1.attn_mask" in state
    assert not torch.equal(
        state["backbone.layers.0.downsample.reduction.weight"],
        network.state_dict()["backbone.stages.0.downsample.reduction.weight"],
    )
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "official.pth")
    loaded, space = baseline(tmp_path / "official.pth", config_file, coco)
    assert isinstance(space, DetectorSpace)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        assert all(map(torch.equal, loaded.eval().backbone(images), network.backbone(images)))


def test_mmdetections_checkpoints_stay_as_they_are(network, checkpoint, config_file, coco):
    assert in_mmdetection_layout(network.state_dict()).keys() == network.state_dict().keys()
    loaded, _ = baseline(checkpoint, config_file, coco)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_a_checkpoint_of_another_detector(refused, network, tmp_path):
    state = network.state_dict()
    for name, change, says in (
        ("box_only", {k: v for k, v in state.items() if "mask_head" not in k}, ("missing", "mask_head")),
        ("more", {**state, "roi_head.semantic_head.weight": torch.zeros(1)}, ("1 unexpected", "semantic_head")),
        ("backbone", {k[9:]: v for k, v in state.items() if k.startswith("backbone.")}, ("missing",)),
        (
            "classes",
            {**state, "roi_head.bbox_head.0.fc_cls.bias": torch.zeros(21)},
            ("1 of another shape", "fc_cls.bias (21,) instead of (81,)"),
        ),
    ):
        torch.save({"state_dict": change}, tmp_path / f"{name}.pth")
        path = tmp_path / f"{name}.pth"
        tool = "train" if name == "classes" else "prune"
        refused(tool, "--checkpoint", path, says=(f"--checkpoint {path}", "another architecture", *says))


def test_a_checkpoint_of_another_config(refused, space, network, data, tmp_path):
    """What differs is named, not the whole of two configs."""
    model = json.loads(json.dumps(space.model))
    model["neck"]["num_outs"] = 6
    card = Card(space.name, {**space.arch, "model": model}, data.classes, data.preprocessing)
    save_model(tmp_path / "other", network, card)
    path = tmp_path / "other"
    line = refused("prune", "--checkpoint", path, says=(f"--checkpoint {path}", "neck.num_outs = 6 there, 5 here"))
    assert line.endswith("correct space.config")
    assert len(line) < 300


def test_settings_that_own_no_weights_are_the_configs(space, network, data, config_file, coco, tmp_path):
    model = json.loads(json.dumps(space.model))
    model["test_cfg"]["rcnn"]["max_per_img"] = 3
    model["backbone"]["frozen_stages"] = 1
    model["roi_head"]["mask_head"]["loss_mask"]["loss_weight"] = 2.0
    card = Card(space.name, {**space.arch, "model": model}, data.classes, data.preprocessing)
    save_model(tmp_path / "other", network, card)
    found, found_space = baseline(tmp_path / "other", config_file, coco)
    assert found.roi_head.test_cfg.max_per_img == space.model["test_cfg"]["rcnn"]["max_per_img"] == 10
    assert found_space.arch == space.arch
    assert all(parameter.requires_grad for parameter in found.parameters())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize("kind", ["official classifier", "backbone"])
def test_training_starts_from_a_backbone_alone(network, config_file, coco, tmp_path, kind):
    state = network.state_dict()
    own = {name: value for name, value in state.items() if name.startswith("backbone.")}
    if kind == "official classifier":
        own = {name: value for name, value in official(own).items() if not name.startswith("backbone.norm")}
        own |= {"backbone.norm.weight": torch.ones(256), "backbone.head.weight": torch.zeros(1000, 256)}
        wrapped = {"model": {name.removeprefix("backbone."): value for name, value in own.items()}}
    else:
        wrapped = {"state_dict": {name.removeprefix("backbone."): value for name, value in own.items()}}
    torch.save(wrapped, tmp_path / "backbone.pth")
    recipe = load_recipe(RECIPE, options_of(config_file, coco, "seed=1"))
    path = str(tmp_path / "backbone.pth")
    with pytest.warns(UserWarning, match="holds a backbone alone; the weights of all else are random"):
        found, _ = make_context(recipe, Silent(), checkpoint=path, aim="train").baseline
    same = {name for name, value in found.state_dict().items() if torch.equal(value, state[name])}
    assert {name for name in state if name.startswith(("backbone.stages", "backbone.patch_embed"))} <= same
    assert "neck.lateral_convs.0.conv.weight" not in same
    with pytest.raises(UserError, match="another architecture"):
        baseline(path, config_file, coco)


def test_weights_that_the_config_names_are_missed(coco, config_file, tmp_path):
    init = "dict(type='Pretrained', checkpoint='https://example.org/swin.pth')"
    file = tmp_path / "config.py"
    file.write_text(f"_base_ = '{config_file}'\nmodel = dict(backbone=dict(init_cfg={init}))\n")
    recipe = load_recipe(RECIPE, options_of(file, coco))
    with pytest.warns(UserWarning, match=r"the config's weights, https://\S+/swin.pth, are not loaded"):
        make_context(recipe, Silent(), aim="train").check(["train"])


class Anything:
    """An object whose class a checkpoint would have to import."""


def test_pickled_objects_need_trust(refused, network, tmp_path):
    path = tmp_path / "objects.pth"
    torch.save({"state_dict": network.state_dict(), "meta": Anything()}, path)
    refused("prune", "--checkpoint", path, says=("holds more than weights", "Anything", "--trust-checkpoint"))


# Data and configs


@pytest.fixture
def changed(coco, tmp_path):
    """`changed(change)`: a copy of the data whose training annotations `change` has edited in place."""

    def copy(change):
        root = tmp_path / "changed"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(coco, root)
        file = annotation_file(root, "train2017")
        value = json.loads(file.read_text())
        change(value)
        file.write_text(json.dumps(value))
        return root

    return copy


def without_masks(value):
    for annotation in value["annotations"]:
        del annotation["segmentation"]


def test_annotations(refused, changed, checkpoint):
    for change, says in (
        (without_masks, ("no 'segmentation'", "a detector without masks")),
        (lambda v: v["categories"].pop(), ("79 categories", "heads have 80", "num_classes")),
        (lambda v: v["categories"][0].update(name="human"), ("'human'", "'person'", "metainfo.classes")),
        (lambda v: v.pop("annotations"), ("annotations is missing",)),
    ):
        refused("train", root=changed(change), says=("recipe: data.root", "instances_train2017.json", *says))
    refused("prune", "--checkpoint", checkpoint, root=changed(without_masks), says=("no 'segmentation'",))


def test_images_and_folders(refused, changed, tmp_path):
    root = changed(lambda value: None)
    shutil.rmtree(root / "val2017")
    refused("train", root=root, says=("data.root", "val2017", "4 of the 4 images", "restore the val images"))
    refused(
        "train", root=tmp_path / "nowhere", says=("data.root", "instances_train2017.json", "missing", "COCO's folder")
    )
    refused("train", more=["train.batch_size=9"], says=("train.batch_size = 9", "8 training images"))
    refused("train", more=["data.limit=1"], says=("recipe: data.limit = 1", "at least 2"))


def test_configs(refused, config_file, tmp_path):
    refused("train", config=tmp_path / "gone.py", says=("space.config", "gone.py", "no such file", "mmdet::"))
    broken = tmp_path / "broken.py"
    for text, says in (
        ("model = dict(\n", ("cannot be read", "SyntaxError")),
        ("model = dict()\n", ("has no train_dataloader, val_dataloader",)),
        ("_base_ = 'nowhere.py'\n", ("cannot be read", "nowhere.py")),
        (f"_base_ = '{config_file}'\nmodel = dict(rpn_head=dict(typ='x'))\n", ("refuses its model section", "typ")),
    ):
        broken.write_text(text)
        refused("train", config=broken, says=("space.config", *says))
    refused("train", config="mmdet::swin/gone.py", says=("space.config", "mmdet::swin/gone.py", "cannot be read"))
    refused("train", recipe=TWIN, says=("is MMDetection's config", "space.config"))
    refused("train", more=["space.depth=3"], says=("space.depth", "no such setting"))


def test_a_model_whose_heads_disagree_on_the_classes(space):
    from compress.detection.data import head_classes

    model = json.loads(json.dumps(space.model))
    assert head_classes(model) == 80
    model["roi_head"]["mask_head"]["num_classes"] = 20
    with pytest.raises(UserError, match=r"its heads have \[20, 80\] num_classes; give all of them the same"):
        head_classes(model)


def test_settings_that_detectors_do_not_have(refused, checkpoint):
    for option, says in (
        ("measure.batch=2", ("recipe: measure.backends", "batch = 2", "batch to 1")),
        ("measure.backends=['pytorch']", ("recipe: measure.backends = ['pytorch']", "ONNX Runtime")),
        ("finetune.distill={'temperature': 4.0}", ("recipe: finetune.distill", "without a teacher")),
        ("search.label_smoothing=0.1", ("recipe: search.label_smoothing = 0.1", "its config's")),
    ):
        refused("prune", "--checkpoint", checkpoint, says=says, more=[option])


def test_a_warm_up_beside_the_configs_own_schedule_has_no_effect(config_file, coco):
    step = ["train.schedule=step", "train.epochs=3", "train.warmup_epochs=1"]
    context = make_context(load_recipe(RECIPE, options_of(config_file, coco, *step)), Silent(), aim="train")
    with pytest.warns(UserWarning, match=r"^train.warmup_epochs has no effect with schedule='step'"):
        context.check(["train"])
