"""What the tests of detectors share: drawn data, a small detector with weights that matter, and its space."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from drawn_coco import draw_coco, write_config
from torch import nn


@pytest.fixture(autouse=True)
def scope():
    """MMDetection's names are found, whatever ran in this process before; its own tools set the same scope."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


@pytest.fixture(autouse=True, scope="session")
def _metafiles_once():
    """MMEngine reads a hundred of MMDetection's YAML files wherever a config has a base in it: here once a process."""
    from mmengine.config import utils

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "load", lru_cache(utils.load))
        yield


@pytest.fixture(scope="session")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 8 training and 4 validation images. Only read it."""
    return draw_coco(tmp_path_factory.mktemp("drawn") / "coco", {"train2017": 8, "val2017": 4})


@pytest.fixture(scope="session")
def config_file(coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MMDetection config of the small twin on that folder."""
    return write_config(tmp_path_factory.mktemp("config") / "twin.py", coco)


@pytest.fixture(scope="session")
def config(config_file: Path):
    from compress.detection.run import load_config

    return load_config(str(config_file))


@pytest.fixture(scope="session")
def data(config):
    from compress.detection.data import CocoData, DetectionData

    return CocoData(config, DetectionData(input_size=(128, 128)))


@pytest.fixture(scope="session")
def space(config):
    from compress.detection import DetectorSpace

    return DetectorSpace(num_classes=80, model=config.model.to_dict())


def _randomised(space, seed=0):
    torch.manual_seed(seed)
    network = space.build()
    for name, parameter in network.named_parameters():
        if name.startswith("backbone.stages"):
            layer = name.endswith(".weight") and parameter.dim() > 1
            nn.init.normal_(parameter, mean=0, std=parameter[0].numel() ** -0.5 if layer else 0.5)
    return network.eval()


@pytest.fixture(scope="session")
def randomised():
    """`randomised(space)`: a detector with attention far from uniform, whose every bias, norm and table matters."""
    return _randomised


@pytest.fixture(scope="session")
def network(space, randomised):
    """The twin with such weights. Only read it."""
    return randomised(space)
