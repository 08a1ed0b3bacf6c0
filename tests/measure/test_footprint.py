"""Memory and FLOPs of a step that is not taken: those of the step that is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from compress.costs import count_macs
from compress.engine.settings import DistillConfig, SearchConfig, TrainConfig
from compress.measure.footprint import search_footprint, training_footprint
from compress.spaces import PreResNetSpace, VitSpace

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from estimate import allocated_peak, measure, parts

SMALL, SIZE, BATCH = "PreResNet-20", (3, 32, 32), 8
MIB = 2**20


@pytest.mark.parametrize("kind", ["train", "search"])
def test_the_peak_is_that_of_a_real_step(kind):
    recipe, space, size = parts(SMALL)
    counted = {"train": training_footprint, "search": search_footprint}[kind]
    told = counted(space, getattr(recipe, kind), input_size=size)
    assert told.peak / MIB == pytest.approx(measure(SMALL, kind)["allocated"], rel=0.02)
    assert told.peak > told.weights + told.states + told.activations


def test_attention_is_counted_as_its_kernel_keeps_it():
    options = {"embed_dim": 48, "depth": 2, "num_heads": 2, "patch_size": 4}
    space = VitSpace(10, "deit_tiny_patch16_224", input_size=64, options=options)
    config = TrainConfig(epochs=1, batch_size=4)

    def make():
        from compress.engine.optimisers import make_optimizer
        from compress.engine.training import Classifier, optim_wrapper

        model = Classifier(space.build()).train()
        wrapper = optim_wrapper(make_optimizer(config.optimizer, model.parameters(), name="t"), config)
        batch = {"inputs": torch.randn(4, 3, 64, 64), "labels": torch.zeros(4, dtype=torch.int64)}
        return lambda: model.train_step(batch, wrapper)

    told = training_footprint(space, config, input_size=(3, 64, 64))
    assert told.peak == pytest.approx(allocated_peak(make), rel=0.1)
    assert told.forward == 2 * 4 * count_macs(space.build(), (3, 64, 64))


def test_parts_of_a_step_by_hand():
    space = PreResNetSpace(11, 10)
    network = space.build()
    config = TrainConfig(epochs=1, batch_size=BATCH)
    found = training_footprint(space, config, input_size=SIZE)
    parameters = sum(p.numel() for p in network.parameters())
    assert found.gradients == found.states == 4 * parameters
    assert found.weights == sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))
    assert found.forward == 2 * BATCH * count_macs(network, SIZE)
    stem = 2 * BATCH * 32 * 32 * 3 * 9 * network.conv1.out_channels
    assert found.flops == 3 * found.forward - stem, "no gradient of the images"
    taught = training_footprint(space, config, input_size=SIZE, distill=DistillConfig())
    assert taught.flops == found.flops + found.forward
    twice = training_footprint(space, TrainConfig(epochs=1, batch_size=2 * BATCH), input_size=SIZE)
    assert twice.activations == pytest.approx(2 * found.activations, rel=0.01)


@pytest.mark.parametrize("method", ["darts2", "netslim", "tas", "wdpruning"])
def test_every_search_is_counted(method):
    sgd = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    config = SearchConfig(epochs=1, batch_size=4, method={"type": method}, optimizer=sgd, alpha_optimizer=sgd)
    found = search_footprint(PreResNetSpace(11, 10), config, input_size=SIZE)
    plain = training_footprint(PreResNetSpace(11, 10), TrainConfig(epochs=1, batch_size=4), input_size=SIZE)
    assert found.weights >= plain.weights
    assert found.peak > 0.999 * plain.peak
    assert found.flops >= plain.flops


def test_two_weight_sets_and_a_divided_batch():
    sgd = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    settings = {"epochs": 1, "batch_size": 16, "optimizer": sgd, "alpha_optimizer": sgd}
    space = PreResNetSpace(11, 10)
    whole = search_footprint(space, SearchConfig(**settings), input_size=SIZE)
    parted = search_footprint(space, SearchConfig(**settings, accumulate=4), input_size=SIZE)
    plain = training_footprint(space, TrainConfig(epochs=1, batch_size=16), input_size=SIZE)
    assert whole.weights >= 2 * plain.weights
    assert parted.peak < whole.peak / 2
    assert parted.flops == pytest.approx(whole.flops * 4 / 3, rel=0.01)
