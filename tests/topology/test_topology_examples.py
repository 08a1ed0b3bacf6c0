"""The examples in topology's docstrings run as they stand, on tiny supernets and made-up tables."""

from __future__ import annotations

import lzma
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cell_tables import made_up_table, nats
from docstring_examples import examples, run_example

from compress.pipeline.recipe import load_recipe_of
from compress.plan import NATS, save_scores
from compress.topology import discretise, edge_scores, load_bench
from compress.topology.profile import random_genotypes

EXAMPLES = [example for example in examples() if example.module.startswith("compress.topology")]


@pytest.fixture
def world(tmp_path, table, timed, options):
    """Name -> what makes what the examples call so; the files that they read are in the folder."""
    cells = made_up_table(NATS)
    scores = edge_scores({"cell": torch.eye(6, 5)})
    (tmp_path / "topology_test_accuracy_200ep.csv.xz").write_bytes(lzma.compress(table.read_bytes()))
    (tmp_path / "runs/scores").mkdir(parents=True)
    save_scores(tmp_path / "runs/scores/scores.safetensors", scores)
    cells.save(tmp_path / "cells.json")
    genotypes = random_genotypes(NATS, 12, seed=0)
    tiny = options(search__epochs=1)[1:]
    return {
        "genotype": lambda: discretise(scores, NATS),
        "genotypes": lambda: genotypes,
        "ratios": lambda: np.array([cells.predict(each).ratio for each in genotypes]),
        "load_recipe_of": lambda: lambda kind, path: load_recipe_of(kind, path, tiny),
        "context": lambda: SimpleNamespace(target=nats),
        "bench": lambda: load_bench(table, "cifar10"),
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_example_of_topology(example, world, tmp_path):
    run_example(example, world, tmp_path)


def test_every_example_of_topology_is_run():
    assert len(EXAMPLES) >= 9
