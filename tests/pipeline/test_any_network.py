"""Runs on traced networks, of lists and of the user's own code, which runs only where he names it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from compress.pipeline.recipe import Recipe, make_recipe
from compress.pipeline.run import prune, train_baseline
from compress.plan import UserError, WidthPlan, write_json
from compress.pruning import Budget, slice_model
from compress.report.progress import TerminalProgress
from compress.spaces import Card, TracedSpace, constructors, load_model, make_space, save_model, sizes
from compress.tracing import traced

NET = """
import pathlib
from torch import nn
pathlib.Path(__file__).with_name("ran").touch()

def make(num_classes, width=16):
    body = nn.Sequential(nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU(),
                         nn.Conv2d(width, 8, 3), nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""
SGD = {"type": "SGD", "lr": 0.05, "momentum": 0.9}
SIZE = (3, 32, 32)


@pytest.fixture(autouse=True)
def _nothing_is_named(monkeypatch):
    monkeypatch.setattr(constructors, "_named", {})


@pytest.fixture
def net(tmp_path):
    """The user's file."""
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def values(model):
    section = {"epochs": 1, "batch_size": 32, "optimizer": SGD}
    return {
        "name": "any", "space": {"type": "traced", "model": model}, "data": {"type": "digits", "limit": 96},
        "train": section, "finetune": section, "search": {**section, "method": {"type": "rarts", "order": "fused"}},
        "measure": {"repeats": 1},
    }  # fmt: skip


def saved(net, folder):
    """A sliced network of the user's code, in `folder`, while nothing is named any more."""
    constructors.name_code(f"{net}:make")
    space = traced(TracedSpace(num_classes=10, model=f"{net}:make"), SIZE)
    plan = WidthPlan("traced", sizes(space.groups), {group.name: (0, 2, 3) for group in space.groups})
    small, small_space = slice_model(space.build().eval(), space, plan)
    save_model(folder / "m", small, Card("traced", small_space.arch, tuple("0123456789"), {"input_size": list(SIZE)}))
    constructors._named.clear()
    (net.parent / "ran").unlink()
    return small


@pytest.mark.slow
def test_a_run_on_the_users_own_network(net, tmp_path):
    recipe = make_recipe(values(f"{net}:make"), [], source=None, kind=Recipe)
    torch.manual_seed(0)
    torch.save(
        make_space("traced", {"num_classes": 10, "model": f"{net}:make"}).build().state_dict(), tmp_path / "w.pth"
    )
    folder = prune(
        recipe, tmp_path / "run", progress=TerminalProgress(quiet=True), budget=Budget("macs_ratio", 0.5),
        checkpoint=str(tmp_path / "w.pth"),
    )  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["macs"]["after"] <= 0.5 * summary["macs"]["before"]
    small, space, _ = load_model(folder / "model")
    assert sum(p.numel() for p in small.parameters()) == summary["params"]["after"]
    assert space.left


@pytest.mark.slow
def test_a_run_in_rounds_on_the_users_own_network(net, tmp_path):
    options = ["finetune.between=2", "measure.backends=['onnxruntime']", "search.batch_size=16"]
    recipe = make_recipe(values(f"{net}:make"), options, source=None, kind=Recipe)
    torch.manual_seed(0)
    network = make_space("traced", {"num_classes": 10, "model": f"{net}:make"}).build()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    folder = prune(
        recipe, tmp_path / "run", progress=TerminalProgress(quiet=True), checkpoint=str(tmp_path / "w.pth"),
        budget=Budget("macs_ratio", 0.4, also=(Budget("params_ratio", 0.6),)), steps=3,
    )  # fmt: skip
    plans = [WidthPlan.load(place / "plan.json") for place in (folder / "step1", folder / "step2", folder.path)]
    for earlier, later in pairwise(plans):
        assert all({*later.kept[name]} <= {*kept} for name, kept in earlier.kept.items())
    small, space, _ = load_model(folder / "model")
    assert sizes(space.groups) == plans[-1].widths
    assert json.loads((folder / "summary.json").read_text())["model"] == f"{net}:make", "what reports are titled by"
    record = json.loads((folder / "step2" / "recipe.json").read_text())
    assert (record["recipe"]["finetune"]["epochs"], record["budget"]["also"][0]["value"]) == (2, 0.6 ** (2 / 3))
    assert Path(record["before"]["path"]) == folder / "step1"
    assert small(torch.randn(2, *SIZE)).shape == (2, 10)


def test_a_card_that_names_code_runs_it_for_nobody(net, tmp_path):
    small = saved(net, tmp_path)
    with pytest.raises(UserError, match=r"is code, which runs only where you name it yourself; add --network"):
        load_model(tmp_path / "m")
    assert not (tmp_path / "ran").exists()
    x = torch.randn(2, *SIZE)
    constructors.name_code(f"{net}:make")
    assert torch.equal(load_model(tmp_path / "m")[0](x), small.eval()(x))


def test_a_recipe_of_data_runs_no_code_either(net):
    given = values(f"{net}:make")
    with pytest.raises(UserError, match=r"space.model = .* is Python, which a file of data must not run"):
        make_recipe(given, [], source="recipe.json", kind=Recipe)
    assert not (net.parent / "ran").exists()
    make_recipe(given, [f"space.model={net}:make"], source="recipe.json", kind=Recipe)
    assert constructors.is_named(f"{net}:make")


def test_the_file_that_the_user_names_runs_wherever_a_record_says_that_it_lay(net, tmp_path):
    """A run that was copied names a file of another machine, and a stranger's may name one of its own."""
    theirs = tmp_path / "theirs" / "net.py"
    theirs.parent.mkdir()
    theirs.write_text(NET)
    constructors.name_code(f"{net}:make")
    for recorded in (f"{theirs}:make", "gone/net.py:make"):
        recipe = make_recipe(values(recorded), [], source="recipe.json", kind=Recipe)
        make_space("traced", {"num_classes": 10, "model": recipe.space["model"]}).build()
    assert (tmp_path / "ran").exists()
    assert not (theirs.parent / "ran").exists()
    make_recipe(values(f"{theirs}:make"), [], source=None, kind=Recipe)  # a recipe in Python is the user's own
    make_space("traced", {"num_classes": 10, "model": f"{theirs}:make"}).build()
    assert (theirs.parent / "ran").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found["groups"][0].update(size=10**9), "less than or equal to"),
        (lambda found: found["groups"][0]["reads"].clear(), "at least 1 item"),
        (lambda found: found["groups"][0]["writes"][0].update(module="os.system"), "has channels on axis 0 of"),
        (lambda found: found["groups"][0]["reads"][0].update(offset=5000), "has channels on axis 1 of"),
        (lambda found: found["groups"][0].update(kind="other"), "kind"),
    ],
)
def test_a_card_with_groups_that_are_none_is_one_line(change, words, net, tmp_path):
    saved(net, tmp_path)
    card = json.loads((tmp_path / "m.json").read_text())
    change(card["arch"]["found"])
    write_json(tmp_path / "m.json", card)
    constructors.name_code(f"{net}:make")
    with pytest.raises(UserError, match=words) as error:
        load_model(tmp_path / "m")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ({"model": "resnet5"}, "timm has no such model; did you mean"),
        ({"model": "hf-hub:x"}, "is code, which runs only"),
        ({"model": "torchvision:nothing"}, "torchvision has no such classifier"),
        ({"model": "torchvision:resnet18", "in_channels": 1}, "take 3 channels"),
        ({"model": "resnet18", "options": {"pretrained": True}}, "weights come from --checkpoint"),
        ({"model": "resnet18", "options": {"scriptable": True}}, "another kind of network"),
        ({"model": "resnet18", "options": {"no_such": 1}}, "fails with"),
        ({"model": "net.py:make:x"}, "must be FILE.py:function"),
        ({"model": 5}, "must be a name"),
        ({"model": "resnet18", "ignored": "stem"}, "must be names of modules"),
    ],
)
def test_what_no_list_has_is_refused(arch, words):
    with pytest.raises(UserError, match=words) as error:
        make_space("traced", {"num_classes": 10, **arch}).build()
    assert "\n" not in str(error.value)


FORGETS = """
from torch import nn

class make(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(12, 2))

    def train(self, mode=True):
        super().train(mode)
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def make(depth):\n    pass", "missing 1 required positional argument: 'depth'"),
        ("def other():\n    pass", "has no function make"),
        ("def make():\n    return 3", "makes a int; must make an nn.Module"),
        (FORGETS, r"space.model = .*bad.py:make': its train\(\) gives NoneType; end it with return self"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_code_that_makes_no_network_is_one_line(code, words, tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(code)
    constructors.name_code(f"{path}:make")
    with pytest.raises(UserError, match=words) as error:
        TracedSpace(num_classes=10, model=f"{path}:make").build()
    assert "\n" not in str(error.value)


BODY = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, classes))
"""
FORWARD, MAKE = "class Bad(Net):\n  def forward(self, x):\n    return", "def make(num_classes):\n  return"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (FORWARD + " {'y': super().forward(x)}", r"gives a dict .* \[1, 10\]"),
        (f"{FORWARD} super().forward(x), x", "gives a tuple for one image"),
        (f"{FORWARD} (super().forward(x), x) if self.training else super().forward(x)", "gives a tuple for two im"),
        (f"{FORWARD} self.targets if self.training else super().forward(x)", "does not run in training .*'targets'"),
        (f"{FORWARD} super().forward(x).detach() if self.training else super().forward(x)", r"\[2, 10\], with their"),
        (f"{MAKE} Net(7)", r"gives \[1, 7\] for one image; must be the logits of all classes"),
        (f"{FORWARD} super().forward(x[:, :, :5])", "takes no images of 3 x 32"),
        (f"{FORWARD} super().forward(x if x.mean() > 0 else -x)", "asks for val"),
        (f"{MAKE} Net(num_classes).half()", "0.weight is float16"),
        (f"{MAKE} Net(num_classes).requires_grad_(False)", "no parameter requires a gradient"),
        (f"{MAKE} nn.Sequential(nn.LazyConv2d(8, 3))", "0.weight has no shape yet"),
        (f"{MAKE} nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))", "use another network"),
        ("def make(num_classes):\n  raise OSError('no weights')", r"fails with .*OSError: no weights"),
        ("class Mine(Exception): pass\ndef make(num_classes):\n  raise Mine('odd')", r"fails with .*Mine: odd"),
        ("raise SystemExit(3)", r"fails \(SystemExit: 3\); mend it"),
    ],
)  # fmt: skip
def test_a_network_that_no_run_can_prune_is_one_line_and_leaves_no_folder(code, words, tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(BODY + code + ("\ndef make(num_classes):\n  return Bad(num_classes)" if "Bad(Net)" in code else ""))
    recipe = make_recipe(values(f"{path}:make"), [], source=None, kind=Recipe)
    with pytest.raises(UserError, match=words) as error:
        train_baseline(recipe, tmp_path / "run", progress=TerminalProgress(quiet=True))
    assert "\n" not in str(error.value)
    assert f"space.model = '{path}:make'" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_file_without_a_function_says_how_to_name_one():
    with pytest.raises(UserError, match=r"of a file name the function too: net.py:make"):
        TracedSpace(num_classes=10, model="net.py")
    with pytest.raises(UserError, match=r"^recipe: space.model = 'net.py:': must be a function"):
        make_recipe(values("net.py:"), [], source=None, kind=Recipe)


def test_an_ignored_layer_that_the_network_lacks_is_refused(net):
    constructors.name_code(f"{net}:make")
    space = TracedSpace(num_classes=10, model=f"{net}:make", ignored=("0.3", "0.7"))
    with pytest.raises(UserError, match=r"^space\.ignored: '0\.7' is no module of Sequential; see named_modules$"):
        traced(space, SIZE)
    assert [group.name for group in traced(replace(space, ignored=("0.3",)), SIZE).full_groups] == ["0.0"]
