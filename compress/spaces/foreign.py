"""Foreign state dicts as a network's weights."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ..plan import UserError
from ..plan.errors import shown
from .averaged import described, one_of
from .naming import prefixes, shortened
from .stem import with_channels_of
from .timm_layouts import in_timm_layout, interpolated
from .weights import RECIPE, check_fits, load_exactly

ADAPT = "adapt it with `nncompress train RECIPE --checkpoint F --work-dir D`, then give --checkpoint D"
"""What to do with a checkpoint of other classes."""


@dataclass(frozen=True)
class Loaded:
    """What a network was given of a foreign checkpoint.

    Args:
        fresh: the layers of its classifier that kept their own weights.
        averaged: whether averaged weights (EMA) were taken, of two sets in one state dict; None: there is one.
        said: a line on what was taken off the names, or left out; "": nothing.
    """

    fresh: tuple[str, ...] = ()
    averaged: bool | None = None
    said: str = ""


def load_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str | Path,
    classifier: Collection[str] = (),
    fresh_classifier: bool = False,
    ema: bool | None = None,
    remedy: str = RECIPE,
) -> Loaded:
    """Load a foreign `state` into `model`, strictly; UserError naming the keys when they are another architecture's.

    A prefix of all names, or under which all of the network is, is taken off. timm's transformers also take the layouts
    that timm converts, Microsoft's Swin among them. Their position tables may be those of another window or image size:
    they are interpolated, with a warning.

    Where only the number of classes differs, a UserError says so, or, with `fresh_classifier`, a warning. Weights of
    RGB images are adapted to one channel or four, with a warning.

    Args:
        model: takes the weights, in place.
        state: name -> tensor.
        source: the file, for messages.
        classifier: the layers whose rows are the classes (`Space.classifier`).
        fresh_classifier: where only their number of classes differs, they keep the weights of `model`.
        ema: of averaged weights beside plain ones takes the plain if False, else the averaged.
        remedy: what helps against another architecture's.

    Example::

        network, state = space.build(), read_state("in1k.pth")
        load_state(network, state, source="in1k.pth", classifier=space.classifier, fresh_classifier=True)
    """
    own = model.state_dict()
    state, averaged, said = _named_alike(model, own, state, source=str(source), ema=ema is not False)
    converted, stem = with_channels_of(own, in_timm_layout(model, state))
    classes = _other_classes(own, converted, classifier)
    fitting = {**converted, **{name: value for name, value in own.items() if name.rpartition(".")[0] in classes}}
    layers, (there, here) = ", ".join(classes), next(iter(classes.values()), (0, 0))
    if classes and not fresh_classifier:
        check_fits(own, fitting, source=source, remedy=remedy)
        raise UserError(f"{source}: its classifier ({layers}) has {there} classes, the data have {here}; {ADAPT}")
    load_exactly(model, fitting, source=source, remedy=remedy)
    if classes:
        warnings.warn(
            f"{source}: the classifier ({layers}) has {there} classes there and {here} here, so it keeps its fresh "
            "initialisation; all other weights are the checkpoint's",
            stacklevel=2,
        )
    if stem:
        done = "summed for 1 channel" if own[stem].shape[1] == 1 else f"repeated and scaled for {own[stem].shape[1]}"
        warnings.warn(
            f"{source}: {stem} reads RGB there and was {done}; the network is not exactly the one that was trained",
            stacklevel=2,
        )
    if tables := interpolated(state, converted):
        before, after = (tuple(each[tables[0]].shape) for each in (state, converted))
        warnings.warn(
            f"{source}: {len(tables)} position tables are of another window or image size and were interpolated, such "
            f"as {tables[0]} from {before} to {after}; the network is not exactly the one that was trained; set "
            "space.input_size and space.options to the checkpoint's if that is not meant",
            stacklevel=2,
        )
    return Loaded(tuple(classes), averaged, said)


def _named_alike(
    model: nn.Module, own: Collection[str], state: Mapping[str, Tensor], *, source: str, ema: bool
) -> tuple[Mapping[str, Tensor], bool | None, str]:
    """`state` without what stands before the names of `own`; whether it is one of averaged weights; the line on it.

    Where nothing makes it fit, as it is, but for what all its names begin with.
    """
    short, common = shortened(state, own)
    for names, prefix in ((state, ""), (short, common)):
        if "" in prefixes(in_timm_layout(model, names), own):
            return names, None, f"took {prefix!r} off the names of its tensors" if prefix else ""
    found, averaged, said = prefixes(state, own), None, ""
    if len(found) > 1:
        if (pair := one_of(found, ema=ema)) is None:
            several = ", ".join(shown(repr(prefix)) for prefix in found[:4])
            raise UserError(
                f"{source}: holds the network {len(found)} times, under {several}; save the one that counts"
            )
        averaged, found = ema, [pair[0]]
        said = f"{described(*(reversed(pair) if ema else pair), ema=ema)}; "
    if not found:
        return short, None, ""
    inner = {name.removeprefix(found[0]): value for name, value in state.items() if name.startswith(found[0])}
    others = [name for name in state if not name.startswith(found[0])]
    count = "1 other:" if len(others) == 1 else f"{len(others)} others, such as"
    left = f"; left out {count} {shown(others[0])}" if others else ""
    return inner, averaged, f"{said}took {shown(repr(found[0]))} off the names of {len(inner)} tensors{left}"


def _other_classes(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], classifier: Collection[str]
) -> dict[str, tuple[int, int]]:
    """Layer -> classes in `state` and in `own`, of those of `classifier` that differ in this number and in no more."""
    found = {}
    for layer in classifier:
        names = [name for name in own if name.rpartition(".")[0] == layer]
        if all(name in state and state[name].shape[1:] == own[name].shape[1:] for name in names):
            there, here = ({tuple(tensors[name].shape[:1]) for name in names} for tensors in (state, own))
            if there != here and len(there) == 1:
                found[layer] = (there.pop()[0], here.pop()[0])
    return found
