"""Searching a detector: scores move, frozen stages do not, and accumulated gradients are those of the whole batch."""

from copy import deepcopy

import pytest
import torch
from drawn_coco import draw_coco, share_boxes, without_chance, write_config

pytest.importorskip("mmdet")
from mmengine.dataset import pseudo_collate

from compress.detection import DetectorSpace
from compress.detection.data import CocoData, DetectionData
from compress.detection.run import load_config
from compress.detection.task import DetectionTask, scaled
from compress.engine.searchers import SearchModel
from compress.engine.settings import FinetuneConfig, SearchConfig, TrainConfig
from compress.plan import UserError
from compress.search import taylor_scores
from compress.spaces import sizes

ADAMW = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05}
SETTINGS = {"epochs": 1, "batch_size": 4, "gamma": 0.01, "optimizer": ADAMW}
SIZE = (3, 128, 128)


@pytest.fixture(scope="module")
def frozen(space, randomised):
    """A detector whose patch embedding and first stage are frozen, and its space; all levels have samples."""
    model = without_chance(space.model)
    model["backbone"]["frozen_stages"] = 1
    own = DetectorSpace(num_classes=80, model=model)
    return randomised(own), own


@pytest.fixture(scope="module")
def task(data):
    return DetectionTask(data)


def batch_of(data, *indices):
    return pseudo_collate([data.test[i] for i in indices])


def is_frozen(name):
    return name.startswith(("backbone.patch_embed", "backbone.stages.0.", "backbone.norm0"))


def moved(before, after):
    """Names of the parameters that differ."""
    other = dict(after.named_parameters())
    return {name for name, value in before.named_parameters() if not torch.equal(value, other[name])}


@pytest.mark.parametrize("order", ["gauss-seidel", "fused"])
def test_an_iteration_of_rarts_moves_scores_and_all_that_is_not_frozen(frozen, task, data, order):
    network, space = frozen
    config = SearchConfig(**SETTINGS, method={"type": "rarts", "order": order})
    model = SearchModel(network, space, config, input_size=SIZE, objective=task)
    optimizers = model.optimizers()
    model.train()
    logs = model.train_step({"p": batch_of(data, 0, 1), "a": batch_of(data, 2, 3)}, optimizers)
    assert {name: bool(torch.isfinite(value)) for name, value in logs.items()} == {"loss_p": True, "loss_a": True}
    scores = model.scores()
    assert sizes(space.groups) == {name: len(score) for name, score in scores.items()}
    assert all(float((score - 1).abs().max()) > 0 for score in scores.values())
    names = {name for name, _ in network.named_parameters()}
    for one in (model.u, model.w):
        changed = moved(network, one)
        assert not {name for name in changed if is_frozen(name)}
        assert changed == {name for name in names if not is_frozen(name)}
    assert moved(model.u, model.w), "u and w have seen different images"
    folded = model.folded(space)
    assert torch.isfinite(task.loss(folded, batch_of(data, 0)))


@pytest.mark.parametrize("order", ["gauss-seidel", "fused"])
def test_weights_that_no_loss_depends_on_stay(space, randomised, task, data, order):
    """The neck leaves the first level away, and with it the norm of that level."""
    model = deepcopy(space.model)
    model["neck"] |= {"start_level": 1, "add_extra_convs": "on_output"}
    own = DetectorSpace(num_classes=80, model=model)
    network, sgd = randomised(own), {"type": "SGD", "lr": 1e-3}
    config = SearchConfig(1, {"type": "rarts", "order": order}, 1, optimizer=sgd, alpha_optimizer=sgd)
    searched = SearchModel(network, own, config, input_size=SIZE, objective=task)
    optimizers = searched.optimizers()
    searched.train()
    searched.train_step({"p": batch_of(data, 0), "a": batch_of(data, 2)}, optimizers)
    changed = moved(network, searched.u)
    assert "backbone.stages.0.blocks.0.ffn.layers.1.weight" in changed
    assert not {name for name in changed if "norm0" in name}


@pytest.mark.parametrize("penalty", ["subgradient", "proximal"])
def test_a_joint_step_under_l1_lowers_scores_more_than_one_without(frozen, task, data, penalty):
    network, space = frozen
    means = []
    for gamma in (0.0, 1.0):
        settings = {**SETTINGS, "gamma": gamma, "penalty": penalty, "method": {"type": "joint"}}
        config = SearchConfig(**settings, alpha_optimizer={"type": "SGD", "lr": 1e-3})
        model = SearchModel(network, space, config, input_size=SIZE, objective=task)
        optimizers = model.optimizers()
        model.train()
        torch.manual_seed(0)
        model.train_step(batch_of(data, 0, 1), optimizers)
        assert not {name for name in moved(network, model.w) if is_frozen(name)}
        means.append(torch.cat(list(model.scores().values())).mean())
    assert float(means[0] - means[1]) == pytest.approx(1e-3, rel=1e-3)  # rate times gamma


def test_taylor_scores_every_dimension(network, space, task, data):
    scores = taylor_scores(deepcopy(network), space, task.loss, [batch_of(data, 0, 1)])
    assert {name: len(score) for name, score in scores.items()} == sizes(space.groups)
    assert all(float(score.max()) > 0 for score in scores.values())


def test_the_loss_of_a_batch_is_the_same_twice(network, task, data):
    """Preparing a batch pads its masks in place; a second pass finds them padded."""
    network = deepcopy(network).train()
    batch = pseudo_collate([data.train[i] for i in range(3)])
    losses = []
    for _ in range(3):
        torch.manual_seed(0)
        losses.append(float(task.loss(network, batch).detach()))
    assert losses[0] == losses[1] == losses[2]


# Parameter groups


def setting(wrapper, network, key):
    """Name of a parameter -> its setting `key`. MMEngine's wrapper shows a further group, of the common settings."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(p)]: group[key] for group in wrapper.optimizer.param_groups for p in group["params"]}


def check_decays(found, network):
    assert found.keys() == {name for name, p in network.named_parameters() if p.requires_grad}
    free = {name for name, decay in found.items() if decay == 0}
    assert free == {name for name in found if "norm" in name or "relative_position_bias_table" in name}
    assert {found[name] for name in found.keys() - free} == {0.05}
    assert len(free) > 20


def test_norms_and_position_tables_do_not_decay(frozen, task):
    network, space = frozen
    wrapper = task.training_optimizer(TrainConfig(1, optimizer=ADAMW), network, name="train")
    check_decays(setting(wrapper, network, "weight_decay"), network)
    config = SearchConfig(**SETTINGS)
    model = SearchModel(network, space, config, input_size=SIZE, objective=task)
    optimizers = model.optimizers()
    for name, one in (("u", model.u), ("w", model.w)):
        check_decays(setting(optimizers[name], one, "weight_decay"), one)
    alpha = optimizers["alpha"].param_groups
    assert {id(p) for group in alpha for p in group["params"]} == {id(p) for p in model.source.alpha()}


def test_rates_and_clipping_of_the_config_are_kept(network, config, data):
    other = deepcopy(config)
    other.optim_wrapper.paramwise_cfg.custom_keys["backbone"] = {"lr_mult": 0.1}
    other.optim_wrapper.clip_grad = {"max_norm": 1e-3}
    task = DetectionTask(data)
    task.wrapper = other.optim_wrapper
    wrapper = task.training_optimizer(TrainConfig(1, optimizer=ADAMW, accumulate=2), network, name="train")
    rates = setting(wrapper, network, "lr")
    assert rates["backbone.stages.0.blocks.0.ffn.layers.1.weight"] == pytest.approx(1e-4)
    assert rates["neck.lateral_convs.0.conv.weight"] == 1e-3
    assert wrapper.clip_grad_kwargs == {"max_norm": 1e-3}
    assert wrapper._accumulative_counts == 2


def test_a_constructor_for_other_backbones_is_refused_in_one_line(network, config, data):
    """MMDetection's layer-wise rates are for ConvNeXt."""
    task = DetectionTask(data)
    task.wrapper = {
        "constructor": "LearningRateDecayOptimizerConstructor",
        "paramwise_cfg": {"num_layers": 6, "decay_rate": 0.7, "decay_type": "layer_wise"},
    }
    with pytest.raises(
        UserError, match=r"constructor, LearningRateDecay\w+, refuses this network \(NotImplemented"
    ) as e:
        task.training_optimizer(TrainConfig(1, optimizer=ADAMW), network, name="train")
    assert "\n" not in str(e.value)


def test_a_constructor_that_groups_parameters_is_followed(network, data):
    from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
    from mmengine.optim import DefaultOptimWrapperConstructor

    @OPTIM_WRAPPER_CONSTRUCTORS.register_module(name="ByPart", force=True)
    class ByPart(DefaultOptimWrapperConstructor):
        def add_params(self, params, module, **kwargs):
            for part in ("backbone", "neck"):
                own = [p for name, p in module.named_parameters() if f"{part}." in name]
                params.append({"params": own, "lr": {"backbone": 1.0, "neck": 2.0}[part]})

    task = DetectionTask(data)
    task.wrapper = {"constructor": "ByPart", "paramwise_cfg": {"any": 1}}
    parameters = [p for name, p in network.named_parameters() if "stages.1" in name or "neck" in name]
    wrapper = task.optimizer(ADAMW, network, parameters, name="search.optimizer")
    found = [(len(group["params"]), group["lr"]) for group in wrapper.optimizer.param_groups]
    counts = [sum(part in name for name, _ in network.named_parameters()) for part in ("stages.1", "neck")]
    assert found == [(counts[0], 1.0), (counts[1], 2.0)]


# Schedules


def test_the_configs_schedule_is_stretched_to_the_recipes_epochs(config, data):
    task = DetectionTask(data)
    finetune = FinetuneConfig(12, optimizer=ADAMW, schedule="step")
    warmup, steps = task.schedule(finetune)
    assert (warmup["type"], warmup["end"]) == ("LinearLR", 1000), "iterations stay"
    assert (steps["milestones"], steps["end"]) == ([9, 11], 12)
    assert data.config.param_scheduler[1]["milestones"] == [27, 33]
    assert task.schedule(FinetuneConfig(12, optimizer=ADAMW))[-1]["type"] == "CosineAnnealingLR"
    entry = {"type": "CosineAnnealingLR", "begin": 4, "end": 36, "T_max": 32}
    assert scaled(entry, 0.5) == {"type": "CosineAnnealingLR", "begin": 2, "end": 18, "T_max": 16}
    warmup = {"type": "LinearLR", "begin": 0, "end": 1, "by_epoch": True}
    assert scaled(dict(warmup), 1 / 3)["end"] == 1, "MMEngine takes no schedule that ends where it begins"
    assert scaled({**warmup, "begin": 1, "end": 2}, 1 / 3) == {**warmup, "begin": 0, "end": 1}


# Accumulation


@pytest.fixture(scope="module")
def without(space, tmp_path_factory):
    """Data and space in which every image has equally many samples, so that losses of parts are means."""
    folder = tmp_path_factory.mktemp("shared")
    root = draw_coco(folder / "coco", {"train2017": 4, "val2017": 4}, sizes=[(96, 128)])
    share_boxes(root, "val2017")
    config = load_config(str(write_config(folder / "twin.py", root)))
    own = DetectorSpace(num_classes=80, model=without_chance(space.model))
    return CocoData(config, DetectionData()), own


def test_an_optimiser_without_weight_decay_takes_the_configs_factors(network, task):
    for settings, decay in (({"type": "SGD", "lr": 0.1}, 0.0), ({"type": "AdamW", "lr": 0.1}, 0.01)):
        wrapper = task.training_optimizer(TrainConfig(1, optimizer=settings), network, name="train")
        found = setting(wrapper, network, "weight_decay")
        assert set(found.values()) == {0.0, decay}
        assert found["neck.lateral_convs.0.conv.weight"] == decay, "the optimiser's own"


def test_parts_of_a_batch_are_its_images_in_order(task, data):
    batch = batch_of(data, 0, 1, 2, 3)
    for n in (1, 2, 4):
        parts = task.parts(batch, n)
        assert [len(part["inputs"]) for part in parts] == [4 // n] * n
        assert [sample.img_id for part in parts for sample in part["data_samples"]] == [7, 17, 27, 37]
        assert all(a is b for a, b in zip((i for part in parts for i in part["inputs"]), batch["inputs"], strict=True))


@pytest.mark.parametrize("method", [{"type": "rarts", "order": "fused"}, {"type": "joint"}], ids=["rarts", "joint"])
def test_accumulated_gradients_are_those_of_the_whole_batch(without, randomised, method):
    data, space = without
    task, network, name = DetectionTask(data), randomised(space), "backbone.stages.3.blocks.1.ffn.layers.1.weight"
    sgd, found = {"type": "SGD", "lr": 1e-3}, []
    for accumulate in (1, 2):
        settings = {**SETTINGS, "optimizer": sgd, "alpha_optimizer": sgd, "method": method}
        config = SearchConfig(**settings, accumulate=accumulate)
        model = SearchModel(network, space, config, input_size=SIZE, objective=task)
        batch = batch_of(data, 0, 1)
        if model.method.halves:
            batch = {"p": batch, "a": batch_of(data, 2, 3)}
        optimizers = model.optimizers()
        model.train()
        model.train_step(batch, optimizers)
        scores = torch.cat(list(model.scores().values()))
        found.append((scores - 1, model.w.get_parameter(name).detach() - network.get_parameter(name).detach()))
    for whole, parts in zip(*found, strict=True):
        assert float((whole - parts).abs().max()) <= 2e-3 * float(whole.abs().max())
