"""A run's folder with a network that has learnt the digits, for tests of what is done with finished runs."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from compress.engine.data import DataConfig, ImageData, load_data
from compress.export import export_onnx
from compress.export.convert import onnx_metadata
from compress.pipeline.recipe import load_recipe
from compress.plan import write_json
from compress.spaces import Card, PreResNetSpace, save_model

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"


@lru_cache
def digits() -> ImageData:
    """Halved in size: a quarter of the work."""
    return load_data(DataConfig(input_size=16, resize=16), seed=0)


@lru_cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="digits_run")  # removed when the tests end


@lru_cache
def trained_run() -> Path:
    """The folder: model.safetensors, model.json, model.onnx, recipe.json. Only read it. Takes some seconds, once."""
    folder, data = Path(_folder().name), digits()
    space = PreResNetSpace(depth=11, num_classes=10)
    torch.manual_seed(0)
    network = space.build().to(memory_format=torch.channels_last)
    images, labels = map(torch.stack, zip(*((x, torch.tensor(y)) for x, y in data.train.eval_view()), strict=True))
    steps, batch = 80, 32
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for step in range(steps):
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(step))[:batch]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    card = Card(space.name, space.arch, data.classes, data.preprocessing)
    save_model(folder / "model", network.eval(), card)
    export_onnx(network, folder / "model.onnx", input_size=card.input_size, metadata=onnx_metadata(card))
    write_json(
        folder / "recipe.json",
        {"train": load_recipe(RECIPE, ["space.depth=11", "data.input_size=16", "data.resize=16"]).to_json()},
    )
    return folder
