"""Arguments of spaces, which come from recipes and from strangers' cards: wrong types and absurd sizes in one line."""

from __future__ import annotations

import pytest

from compress.plan import UserError
from compress.spaces import make_space

WHOLE = {
    "preresnet": {"depth": 11, "num_classes": 10},
    "mobilenetv2": {"num_classes": 10, "multiplier": 0.35},
    "swin": {"num_classes": 10, "model": "swin_tiny_patch4_window7_224", "options": {"depths": [1], "window_size": 4}},
    "vit": {"num_classes": 10, "model": "deit_tiny_patch16_224", "options": {"depth": 1}},
}
WRONG = (None, [], {"a": 1}, "text", True, -1, 0, 1e308, float("nan"), 10**30, 10**12, "9" * 5000, [[[1]]])


@pytest.mark.parametrize("name", WHOLE)
def test_numbers_of_classes_channels_and_widths_are_whole_and_bounded(name):
    for key in ("num_classes", "in_channels", "widths"):
        for value in WRONG:
            with pytest.raises(UserError, match=rf"(space\.{key} = |{key}( = |\[)).*must|no such group") as caught:
                make_space(name, {**WHOLE[name], key: value})
            assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "key", "right"),
    [
        ("preresnet", "depth", 20),
        ("preresnet", "score_inputs", True),
        ("mobilenetv2", "multiplier", 0.5),
        ("mobilenetv2", "score_outputs", False),
        ("vit", "scored", "vtp"),
        ("vit", "model", "deit_small_patch16_224"),
    ],
)
def test_each_space_refuses_what_is_none_of_its_arguments(name, key, right):
    make_space(name, {**WHOLE[name], key: right})
    for value in (value for value in WRONG if not (value is True and isinstance(right, bool))):
        with pytest.raises(UserError, match=rf"space\.{key} = ") as caught:
            make_space(name, {**WHOLE[name], key: value})
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "options",
    [
        {"depths": [10**6]},
        {"depths": [200, 200, 200]},
        {"embed_dim": 10**9},
        {"embed_dim": 60000, "depths": [8]},
        {"window_size": float("inf")},
        {"patch_size": True},
        {"mlp_ratio": [[[10**7]]]},
    ],
    ids=str,
)
def test_transformers_of_absurd_sizes_are_refused_before_they_are_made(options):
    with pytest.raises(UserError, match=r"space\.options") as caught:
        make_space("swin", {**WHOLE["swin"], "options": options})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", [None, [], {}, 3, "x" * 5000, "a\nb"], ids=repr)
def test_names_of_spaces_are_text(name):
    with pytest.raises(UserError, match=r"space\.type = .*unknown space") as caught:
        make_space(name, {})
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
