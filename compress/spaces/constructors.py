"""What makes a network that no space of its own knows: a model of timm's or torchvision's lists, or the user's code.

    resnet50                    timm's
    torchvision:resnet18        torchvision's
    my_net.py:make              the function `make` of the file my_net.py, or a class
    my_package.nets:make        of a module that is on the path

Cards of strangers name such things too. A list's models are built as they say; code runs where the user has named it
himself in this process (`name_code`), as in a recipe in Python or by `--network`, and nowhere else.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from ..plan import UserError, brief
from ..plan.errors import FAULTS
from .arguments import MOST_PARAMETERS
from .given import check_returned
from .timm_arguments import NAME, RESERVED, plain_values

TORCHVISION = "torchvision:"
GIVEN = "given"
"""Stands for a live network, which has no constructor: who loads it gives a fresh one."""
CODE = re.compile(r"([^:]+):([A-Za-z_]\w*)")
FIXED = {**RESERVED, "weights": RESERVED["pretrained"], "weights_backbone": RESERVED["pretrained"]}
OTHER_KINDS = ("features_only", "scriptable", "exportable", "no_jit")
"""Arguments of timm.create_model that make something else than the model."""

_named: dict[str, str] = {}


def is_code(model: str) -> bool:
    """Whether `model` names code of the user, and no model of a list."""
    return ":" in model and not model.startswith(TORCHVISION)


def name_code(model: str, *, argument: str = "--network") -> None:
    """The user himself names `model`, so that it may be imported; UserError where it is no FILE.py:function."""
    if not CODE.fullmatch(model):
        raise UserError(
            "must be a function of a file or a module", argument=argument, value=model, remedy="as my_net.py:make"
        )
    _named[_key(model)] = model


def is_named(model: str) -> bool:
    """Whether the user has named this code in this process."""
    return _key(model) in _named


def _key(model: str) -> str:
    """What tells code apart wherever it lies: the file's own name and the function."""
    return Path(model).name


def construct(model: str, options: Mapping[str, Any], *, num_classes: int, in_channels: int) -> nn.Module:
    """A freshly initialised network, drawn from the global random generator.

    Args:
        model: as above.
        options: more keyword arguments, plain values.
        num_classes: outputs.
        in_channels: of the images.

    Raises UserError for a name that is in no list, arguments that are refused, and code that the user has not named.

    Example::

        construct("torchvision:resnet18", {}, num_classes=20, in_channels=3)
    """
    if is_code(model):
        make, known = _imported(model), {"num_classes": num_classes, "in_channels": in_channels}
        arguments = {**_taken(make, known), **options}
    elif model.startswith(TORCHVISION):
        make, arguments = _of_torchvision(model, in_channels), {"num_classes": num_classes, **options}
    else:
        make, arguments = _of_timm(model), {"num_classes": num_classes, "in_chans": in_channels, **options}
    try:
        network = make(**arguments)
    except Exception as error:
        if not isinstance(error, FAULTS) and not is_code(model):
            raise  # the user's code may raise anything, a library's does not
        text = " ".join(str(error).split())[:200]
        raise UserError(
            f"space.model = {model!r}: fails with {brief(arguments)} ({type(error).__name__}: {text}); give what it "
            "needs as space.options, or mend it"
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"space.model = {model!r}: makes a {type(network).__name__}; must make an nn.Module")
    check_returned(network, source=f"space.model = {model!r}")
    if lazy := next((name for name, value in network.named_parameters() if is_lazy(value)), None):
        raise UserError(f"space.model = {model!r}: {lazy} has no shape yet; call the network once where it is made")
    if (n := sum(value.numel() for value in network.parameters())) > MOST_PARAMETERS:
        raise UserError(f"space.options = {brief(options)}: make {n:,} parameters; at most {MOST_PARAMETERS:,} here")
    return network


def check_constructor(model: Any, options: Any) -> dict[str, Any]:
    """`options` as plain values; UserError for a `model` that names nothing, and for options that are not plain."""
    if not isinstance(model, str):
        raise UserError(f"space.model = {brief(model)}: must be a name; for example 'resnet50'")
    if model == GIVEN or is_code(model):
        if model != GIVEN and not CODE.fullmatch(model):
            raise UserError(f"space.model = {model!r}: must be FILE.py:function or module:function")
    elif model.startswith(TORCHVISION):
        _of_torchvision(model, 3)
    else:
        _of_timm(model)
    if not isinstance(options, Mapping):
        raise UserError(f"space.options = {brief(options)}: must map names to plain values")
    for name in options:
        if not is_code(model) and (name in FIXED or name in OTHER_KINDS):
            why = FIXED.get(name, "makes another kind of network; leave it away")
            raise UserError(f"space.options[{brief(name)}]: {why}")
    return plain_values(options)


def _of_timm(model: str) -> Callable[..., Any]:
    import timm

    if not (NAME.fullmatch(model) and timm.is_model(model)):
        near = [name for name in timm.list_models(f"*{model}*") if NAME.fullmatch(model)][:3]
        remedy = f"did you mean {', '.join(near)}?" if near else "for example 'resnet50', 'torchvision:resnet18'"
        if model.endswith(".py"):
            remedy = f"of a file name the function too: {model}:make"
        raise UserError(f"space.model = {brief(model)}: timm has no such model; {remedy}")
    return lambda **arguments: timm.create_model(model, pretrained=False, **arguments)


def _of_torchvision(model: str, in_channels: int) -> Callable[..., Any]:
    from torchvision import models

    name = model.removeprefix(TORCHVISION)
    if name not in models.list_models(module=models):
        raise UserError(f"space.model = {brief(model)}: torchvision has no such classifier; see its list_models()")
    if in_channels != 3:
        raise UserError(
            f"space.model = {model!r}: torchvision's networks take 3 channels, the images have {in_channels}"
        )
    # Some have auxiliary heads, and initialise slowly unless told.
    extra = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return lambda **arguments: models.get_model(name, weights=None, **{**extra, **arguments})


def _taken(make: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `known` that `make` has arguments for."""
    names = signature(make).parameters.values()
    if any(each.kind is Parameter.VAR_KEYWORD for each in names):
        return dict(known)
    return {each.name: known[each.name] for each in names if each.name in known}


def _imported(model: str) -> Callable[..., Any]:
    named = _named.get(_key(model))
    if named is None:
        raise UserError(
            f"space.model = {model!r}: is code, which runs only where you name it yourself; add --network {model} (in "
            "Python: load(..., network=...)), if you trust it"
        )
    match = CODE.fullmatch(named)
    assert match is not None, "name_code has checked it"
    place, function = match.groups()
    try:
        module = _file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the user's file may raise anything)
        text = " ".join(str(error).split())[:200]
        raise UserError(f"space.model = {named!r}: {place} fails ({type(error).__name__}: {text}); mend it") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"space.model = {named!r}: {place} has no function {function}")
    return found  # type: ignore[no-any-return]


def _file(path: Path) -> Any:
    """The module of a file, imported once; other files beside it are not on the path."""
    if not path.is_file():
        raise UserError(f"space.model = {str(path)!r}: no such file; give the file that makes the network")
    name = f"compress_network_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
