"""A kit that tests may change, and what a device might say of it; test_kit.py and test_kit_device.py use them."""

from __future__ import annotations

import hashlib
import json

import pytest
from exported_spaces import SPACES, made

from compress.measure import TableConfig
from compress.measure.kit import writing
from compress.measure.kit.writing import write_table_kit
from compress.spaces import sizes

SPACE, SIDE = SPACES["preresnet"]
SIZE = (3, SIDE, SIDE)
CONFIG = TableConfig(designs=8, multiple=4, batch=2, seed=3)
FULL = sizes(SPACE.groups)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A kit as it is written, of an export that other tests use too."""
    folder = tmp_path_factory.mktemp("kits") / "kit"
    _, _, model, graphs = made("preresnet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "timing_network", lambda space, size: model)
        patch.setattr(writing, "WidthGraphs", lambda *args, **options: graphs)
        write_table_kit(SPACE, folder, input_size=SIZE, config=CONFIG)
    return folder


@pytest.fixture
def kit(whole, tmp_path):
    """A kit whose files may be changed; its networks are those of `whole`."""
    folder = tmp_path / "kit"
    folder.mkdir()
    (folder / "networks").symlink_to(whole / "networks")
    for name in ("manifest.json", "measure_kit.py"):
        (folder / name).write_bytes((whole / name).read_bytes())
    return folder


def made_up_times(kit, ratio, *, names=None):
    """A measured.json of a device on which the network at `widths` takes `ratio(widths)`."""
    manifest = json.loads((kit / "manifest.json").read_text())
    networks = [each for each in manifest["networks"] if names is None or each["name"] in names]
    times = {
        each["name"]: {"network": [10 * ratio(each["widths"])] * 4, "unpruned": [10.0] * 4, "reference_ms": 0.2}
        for each in networks
    }
    value = {
        "format": 1,
        "kit": hashlib.sha256((kit / "manifest.json").read_bytes()).hexdigest(),
        **{"backend": "tensorrt", "provider": "trtexec", "device": "a GPU", "processor": "a processor"},
        **{"versions": {"tensorrt": "10.13"}, "threads": 1, "rounds": 4, "date": "today", "times": times},
    }
    (kit / "measured.json").write_text(json.dumps(value))
    return value
