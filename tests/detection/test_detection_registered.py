"""Model sections are data: only registered classes are built, nothing that is named is opened."""

import ast
import inspect
import sys
from copy import deepcopy
from functools import cache

import pytest

pytest.importorskip("mmdet")
from mmdet.registry import MODELS

from compress.detection import DetectorSpace
from compress.detection.registered import READERS, checked, held_classes, registered_only
from compress.plan import UserError

OPENING = {
    "eval",
    "exec",
    "open",
    "load",
    "load_checkpoint",
    "from_pretrained",
    "fromfile",
    "download",
    "import_module",
}
"""Names of calls that run, open or fetch what they are given."""
CHECKPOINTS = {"PyramidVisionTransformer", "PyramidVisionTransformerV2", "SlicedSwinTransformer", "SwinTransformer"}
CHECKPOINTS |= {"DetectoRS_ResNet", "DetectoRS_ResNeXt", "SSDVGG"}
"""Classes that open only what init_cfg or pretrained name, which is left out."""


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (
            {"type": "subprocess.call", "args": "touch x", "shell": True},
            r"model\.type = 'subprocess\.call': must be the",
        ),
        ({"neck": {"type": "os.system"}}, r"model\.neck\.type = 'os\.system'"),
        ({"heads": [{"loss": {"type": ["FPN"]}}]}, r"model\.heads\[0\]\.loss\.type = \['FPN'\]"),
        ({"type": "mmpretrain.ConvNeXt"}, r"model\.type = 'mmpretrain\.ConvNeXt'"),
        ({"type": "FPN", "_scope_": "this"}, r"model\._scope_ = 'this': must be one of mmdet"),
        ({"nms": {"type": "open('x')"}}, r"nms\.type = .* must be nms or soft_nms"),
        ({"type": "nms"}, r"model\.type = 'nms': must be the name of a class"),
        ({"roi_layer": {"type": "nms"}}, r"roi_layer\.type = 'nms': must be one of RoIAlign"),
        ({"init_cfg": {"type": "os.system"}}, r"init_cfg\.type = 'os\.system': must be an initialiser"),
        ({"init_cfg": {"type": "Normal", "override": {"type": "Pretrained"}}}, r"override\.type = 'Pretrained'"),
        ({"type": "LAD"}, r"model\.type = 'LAD': opens files or addresses by itself"),
        ({"type": "mmdet.GLIP"}, r"model\.type = 'mmdet\.GLIP': opens files"),
        ({"teacher_config": "config.py"}, r"model\.teacher_config = 'config\.py': names a file or an address"),
        ({"a": [{"b": "../secret"}]}, r"model\.a\[0\]\.b = '\.\./secret': names a file"),
        ({"a": "http://nowhere.invalid"}, r"names a file or an address"),
        ({"x': open('y'), 'z": 1}, r"is no name of a setting"),
        ({1: 2}, r"model: 1 is no name of a setting"),
        ({"act": len}, r"model\.act = <built-in .*: must be a plain value"),
    ],
)
def test_what_is_more_than_data_is_refused(section, says):
    with pytest.raises(UserError, match=says):
        checked(section)


def test_weights_to_load_are_left_out_and_all_else_stays():
    loaded = {"type": "mmdet.Pretrained", "checkpoint": "https://nowhere.invalid/x.pth"}
    normal = {"type": "Normal", "layer": "Conv2d", "std": 0.01, "override": {"type": "Xavier", "name": "fc"}}
    section = {"type": "FPN", "pretrained": "torchvision://resnet50", "init_cfg": loaded, "out": (1, 2.0, None, True)}
    assert checked(section) == {"type": "FPN", "out": [1, 2.0, None, True]}
    assert checked({"init_cfg": [normal, loaded]}) == {"init_cfg": [normal]}
    assert checked({"init_cfg": {**normal, "checkpoint": "x"}}) == {}
    assert checked({"init_cfg": {"checkpoint": "https://nowhere.invalid/pvt.pth"}}) == {}
    assert checked({"pretrained": None, "nms": {"type": "soft_nms"}}) == {
        "pretrained": None,
        "nms": {"type": "soft_nms"},
    }


def test_a_card_with_a_call_is_refused_before_anything_is_built(space, monkeypatch):
    monkeypatch.setattr(MODELS, "build", lambda *args: pytest.fail("something was built"))
    model = deepcopy(dict(space.model))
    model["data_preprocessor"] = {"type": "subprocess.call", "args": "touch x", "shell": True}
    with pytest.raises(UserError, match=r"space\.config: model\.data_preprocessor\.type = 'subprocess\.call'"):
        DetectorSpace(num_classes=80, model=model)


def test_registries_import_nothing_while_a_section_is_built():
    sys.modules.pop("this", None)
    with registered_only(), pytest.raises(RuntimeError, match="Failed to get this"):
        MODELS.build({"type": "this.s"})
    assert "this" not in sys.modules


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # in the sources that are read
def test_every_registered_class_that_opens_something_is_known():
    """Of a new MMDetection as well: what calls such a function is refused, or opens only what is left out."""
    found = set()
    for name, kind in held_classes().items():
        for part in getattr(kind, "__mro__", (kind,)):
            if part.__module__.partition(".")[0] in ("mmdet", "mmcv") and _opens(part):
                found.add(name)
    assert found == (READERS - {"ATSSVLFusionHead", "GLIP", "GroundingDINO"}) | CHECKPOINTS


@cache
def _classes(module):
    """{name: syntax tree} of the classes of a module; one parse serves all of them."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}


@cache
def _opens(part):
    for node in ast.walk(_classes(part.__module__)[part.__name__]):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in OPENING and not (name == "eval" and not node.args):
                return True
    return False
