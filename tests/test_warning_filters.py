"""The suite's filters of warnings: each ignores one known text, so that a new warning is seen."""

import tomllib
import warnings
from pathlib import Path

import pytest

FILTERS = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["tool"]["pytest"][
    "ini_options"
]["filterwarnings"]
ARRAY = "__array__ implementation doesn't accept a copy keyword, so passing copy=False failed."


def test_what_this_project_warns_of_is_an_error_and_nothing_is_ignored_wholesale():
    assert "error:::compress" in FILTERS
    for line in FILTERS:
        action, message, category, *module = line.split(":")
        if action == "ignore":
            assert len(message) > 15
            assert category.endswith("Warning")
            assert module or message.startswith("Complex modules"), "whose it is"


@pytest.mark.parametrize(
    ("module", "text", "category", "seen"),
    [
        ("pycocotools.mask", ARRAY, DeprecationWarning, False),
        ("pycocotools.mask", "another one", DeprecationWarning, True),
        ("warnings", ARRAY, DeprecationWarning, False),
        ("numpy", ARRAY, DeprecationWarning, True),
        ("mmcv.cnn", "The arguments `dropout` in MultiheadAttention has been deprecated", DeprecationWarning, False),
        ("mmdet.models", "DeprecationWarning: `num_anchors` is deprecated, for", UserWarning, False),
        ("mmdet.models", "DeprecationWarning: `num_points` is deprecated", UserWarning, True),
        ("torch.jit._trace", "`torch.jit.trace` is deprecated. Please switch.", FutureWarning, False),
        ("torch.jit._trace", "`torch.jit.trace` forgets things", FutureWarning, True),
        ("mmdet.models", "To copy construct from a tensor, it is recommended", UserWarning, False),
        ("torch.functional", "torch.meshgrid: in an upcoming release, it will be", UserWarning, False),
        ("timm.layers", "To copy construct from a tensor, it is recommended", UserWarning, True),
    ],
)
def test_known_warnings_stay_away_and_others_are_seen(module, text, category, seen):
    with warnings.catch_warnings(record=True) as found:
        warnings.warn_explicit(text, category, "file.py", 1, module=module)
    assert [str(each.message) for each in found] == ([text] if seen else [])
