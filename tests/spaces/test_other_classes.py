"""Checkpoints of another number of classes: all but the classifier is loaded when asked for, else they are refused.

Some three seconds.
"""

import re
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.plan import UserError
from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace, VitSpace, load_state, sizes

SWIN_OPTIONS = {"window_size": 4, "embed_dim": 24, "depths": [1, 1], "num_heads": [1, 2]}
SWIN = SwinSpace(5, "swin_tiny_patch4_window7_224", input_size=32, options=SWIN_OPTIONS)
DEIT = VitSpace(5, "deit_tiny_patch16_224", input_size=32, options={"depth": 1})
SPACES = {
    "preresnet": (PreResNetSpace(11, 5), ("fc",)),
    "mobilenetv2": (MobileNetV2Space(5, multiplier=0.1), ("classifier",)),
    "swin": (SWIN, ("head.fc",)),
    "swin-vtp": (replace(SWIN, scored="vtp"), ("head.fc",)),
    "deit": (DEIT, ("head",)),
    "deit-distilled": (replace(DEIT, model="deit_tiny_distilled_patch16_224"), ("head", "head_dist")),
}
EVERY_SPACE = pytest.mark.parametrize(("space", "classifier"), SPACES.values(), ids=SPACES)


def state_of(space, seed=1):
    """Random values everywhere."""
    torch.manual_seed(seed)
    model = space.build()
    return {
        name: torch.randn(value.shape) if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }


def fresh(space):
    torch.manual_seed(0)
    return space.build()


def adapt(space, state, says):
    """A network of `space` with the weights of `state`; one warning, of one line, that matches `says`."""
    model = fresh(space)
    with pytest.warns(UserWarning, match=says) as caught:
        load_state(model, state, source="net.pth", classifier=space.classifier, fresh_classifier=True)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    return model


def refused(space, state, says, **options):
    """Refused in one line and without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=says) as caught:
            load_state(fresh(space), state, source="net.pth", classifier=space.classifier, **options)
    assert "\n" not in str(caught.value)


@EVERY_SPACE
def test_a_space_names_its_classifier(space, classifier):
    assert space.classifier == classifier
    for widths in (
        {},
        {group.name: max(1, size // 2) for group, size in zip(space.groups, sizes(space.groups).values(), strict=True)},
    ):
        model = space.with_widths(widths).build()
        assert all(model.get_submodule(name).out_features == 5 for name in space.with_widths(widths).classifier)
    more = replace(space, num_classes=9).build().state_dict()
    changed = {
        name.rpartition(".")[0] for name, value in space.build().state_dict().items() if value.shape != more[name].shape
    }
    assert changed == set(classifier)


@EVERY_SPACE
@pytest.mark.parametrize("n_classes", [7, 3], ids=["more", "fewer"])
def test_all_but_the_classifier_comes_from_the_checkpoint(space, classifier, n_classes):
    state = state_of(replace(space, num_classes=n_classes))
    layers = re.escape(", ".join(classifier))
    model = adapt(
        space, state, rf"net\.pth: the classifier \({layers}\) has {n_classes} classes there and 5 here, so it"
    )
    start = fresh(space).state_dict()
    for name, value in model.state_dict().items():
        theirs = start if name.rpartition(".")[0] in classifier else state
        assert torch.equal(value, theirs[name]), name


@EVERY_SPACE
def test_a_checkpoint_of_as_many_classes_is_loaded_whole_and_without_a_word(space, classifier):
    state, model = state_of(space), fresh(space)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_state(model, state, source="net.pth", classifier=space.classifier, fresh_classifier=True)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@EVERY_SPACE
def test_without_leave_it_is_refused_with_the_way_to_adapt_it(space, classifier):
    layers = re.escape(", ".join(classifier))
    says = rf"net\.pth: its classifier \({layers}\) has 7 classes, the data have 5; .*`nncompress train RECIPE "
    refused(space, state_of(replace(space, num_classes=7)), says)


@pytest.mark.parametrize("fresh_classifier", [True, False])
def test_nothing_else_may_differ(fresh_classifier):
    space = PreResNetSpace(11, 5)
    state, options = state_of(PreResNetSpace(11, 7)), {"fresh_classifier": fresh_classifier}
    refused(space, state_of(PreResNetSpace(20, 7)), r"another architecture; \d+ unexpected: layer1\.1", **options)
    for name in ("fc.weight", "fc.bias"):
        lacking = {key: value for key, value in state.items() if key != name}
        refused(space, lacking, rf"another architecture; 1 missing: {re.escape(name)}", **options)
    narrower = {**state, "fc.weight": torch.zeros(7, 100)}
    refused(space, narrower, r"2 of another shape: fc\.weight \(7, 100\) instead of \(5, 256\), fc\.bias", **options)
    for odd in (torch.zeros(6), torch.tensor(0.0)):
        refused(space, {**state, "fc.bias": odd}, r"2 of another shape: fc\.weight", **options)
    distilled = state_of(replace(SPACES["deit-distilled"][0], num_classes=7))
    refused(DEIT, distilled, r"unexpected: dist_token, head_dist\.weight", **options)


def test_a_swin_in_microsofts_layout_is_adapted():
    theirs = state_of(replace(SWIN, num_classes=1000))
    state = {
        re.sub(r"layers\.1\.downsample", "layers.0.downsample", name).replace("head.fc.", "head."): value
        for name, value in theirs.items()
    }
    assert {"head.weight", "layers.0.downsample.norm.bias"} <= state.keys()
    model = adapt(SWIN, state, r"\(head\.fc\) has 1000 classes there and 5 here")
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in theirs.items() if not name.startswith("head."))


def test_positions_of_another_image_size_are_interpolated_besides():
    state, model = state_of(replace(DEIT, num_classes=7)), replace(DEIT, input_size=48).build()
    with pytest.warns(UserWarning, match="net") as caught:
        load_state(model, state, source="net.pth", classifier=DEIT.classifier, fresh_classifier=True)
    assert [("classifier" in str(w.message), "pos_embed" in str(w.message)) for w in caught] == [
        (True, False),
        (False, True),
    ]


def test_a_space_without_named_classifier_is_refused_as_before():
    model = PreResNetSpace(11, 5).build()
    with pytest.raises(UserError, match=r"another architecture; 2 of another shape: fc\.weight"):
        load_state(model, state_of(PreResNetSpace(11, 7)), source="net.pth", fresh_classifier=True)
    assert isinstance(model.fc, nn.Linear)
