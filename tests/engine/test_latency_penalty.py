"""Searches with the latency penalty: refusals before anything is trained, and channels that cost more are pulled more.

About half a minute.
"""

import json

import pytest
import torch
from latency_tables import made_up_table
from quiet import Quiet

from compress.engine.data import DataConfig, load_data
from compress.engine.penalising import make_penalty
from compress.engine.searchers import SearchModel
from compress.engine.searching import search
from compress.engine.settings import SearchConfig
from compress.engine.tasks import Classification
from compress.engine.training import Job
from compress.plan import UserError, read_json
from compress.search import METHODS, Gates
from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace

SPACE = PreResNetSpace(11, 10)
INPUT = (3, 32, 32)
SGD = {"type": "SGD", "lr": 0.05, "momentum": 0.9}
GROUPS = ("layer2.0.conv1", "layer2.0.conv2")
"""Equally wide; layer2.0.conv2 (the operator) reads the one and makes the other."""
OPERATORS = {GROUPS[0]: "layer2.0.conv1", GROUPS[1]: "layer2.0.conv3"}
"""The operator that one of the two pays for alone."""


@pytest.fixture
def table(tmp_path):
    """A function that writes the table in which the channels of one group are a hundred times as dear."""

    def write(dear=GROUPS[0], space=SPACE):
        made_up_table(space, INPUT, factors={OPERATORS[dear]: 100}).save(tmp_path / "table.json")
        return str(tmp_path / "table.json")

    return write


def config(file, **changes):
    settings = {"epochs": 1, "batch_size": 16, "gamma": 20.0, "penalty": "latency", "latency_table": file}
    return SearchConfig(**{**settings, "optimizer": SGD, "alpha_optimizer": SGD, **changes})


def run(folder, settings, *, space=SPACE, input_size=32, evaluate=lambda _: {}):
    torch.manual_seed(0)
    data = load_data(DataConfig(limit=64, input_size=input_size, resize=input_size), seed=0)
    job = Job(folder / "search", folder / "metrics.jsonl", "search", 3, Quiet())
    return search(space.build(), space, Classification(data), settings, job, evaluate=evaluate)


GATED_METHODS = [method.name for method in METHODS.values() if method.source is Gates]


def mean_size(scores, group):
    return float(scores[group].abs().mean())


def stepped(settings, n=15):
    """Scores after `n` steps on random images of 8 x 8 pixels."""
    torch.manual_seed(0)
    model = SearchModel(SPACE.build(), SPACE, settings, input_size=INPUT).train()
    optimizers = model.optimizers()
    for _ in range(n):
        p, a = ((torch.randn(8, 3, 8, 8), torch.randint(10, (8,))) for _ in range(2))
        model.train_step({"p": p, "a": a} if model.method.halves else p, optimizers)
    return model.scores()


@pytest.mark.parametrize("method", [*({"type": name} for name in GATED_METHODS), {"type": "rarts", "order": "fused"}])
def test_scores_of_costly_channels_fall_below_those_of_cheap_ones(table, method):
    """Whichever of two groups is the costly one: nothing but the table differs between the two searches."""
    for dear, cheap in (GROUPS, GROUPS[::-1]):
        scores = stepped(config(table(dear), method=method))
        assert mean_size(scores, dear) < mean_size(scores, cheap) - 0.2
        assert all(score.isfinite().all() for score in scores.values())


def test_without_weight_the_table_does_not_matter(table):
    first, second = (stepped(config(table(dear), gamma=0.0), n=2) for dear in GROUPS)
    assert all(torch.equal(score, second[name]) for name, score in first.items())


@pytest.mark.parametrize("dear", GROUPS)
def test_gates_of_fixed_scale_become_uneven_where_channels_are_costly(table, dear):
    cheap = next(group for group in GROUPS if group != dear)
    scores = stepped(config(table(dear), method={"type": "joint"}, fixed_scale=True, gamma=100.0))
    for group in GROUPS:
        assert float(scores[group].square().mean().sqrt()) == pytest.approx(1.0, abs=1e-5)
    assert mean_size(scores, dear) < mean_size(scores, cheap) - 0.02


@pytest.mark.parametrize("kind", ["rarts", "joint"])
def test_a_whole_search_runs_and_says_what_it_did(tmp_path, table, kind):
    found = run(tmp_path, config(table(), method={"type": kind}, epochs=2))
    assert {name: found.info[name] for name in ("gamma", "penalty", "strength")} == {
        "gamma": 20.0,
        "penalty": "latency",
        "strength": None,
    }
    assert mean_size(found.scores, GROUPS[0]) < mean_size(found.scores, GROUPS[1])
    again = run(tmp_path / "again", config(table(), method={"type": kind}, epochs=2))
    assert all(torch.equal(score, again.scores[name]) for name, score in found.scores.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency_table": None}, r"search\.latency_table = None: .*needs a table.*`nncompress profile`"),
        ({"latency_table": ""}, r"search\.latency_table = ''"),
        ({"penalty": "proximal"}, r"search\.latency_table = 't\.json': has no use with search\.penalty = 'proximal'"),
        ({"penalty": "subgradient", "latency_table": None, "latency_tau": 0.4}, r"search\.latency_tau = 0\.4: has no"),
        ({"latency_tau": 0.0}, r"search\.latency_tau = 0\.0: must be .*above 0"),
        ({"penalty": "speed"}, r"search\.penalty = 'speed': must be one of .*'latency'"),
        *(
            ({"method": {"type": name}}, rf"search\.penalty = 'latency': {name} has no gates.*'?rarts")
            for name in METHODS
            if name not in GATED_METHODS
        ),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(UserError, match=message) as refused:
        config("t.json", **changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("space", "input_size", "message"),
    [
        (PreResNetSpace(11, 7), 32, r"arch\.num_classes = 10 there, 7 here; profile"),
        (PreResNetSpace(11, 10, score_inputs=True), 32, r"arch\.score_inputs = False there, True here; profile"),
        (PreResNetSpace(20, 10, widths={"layer1.0.conv1": 9}), 32, r"arch\.depth = 11 .*\(arch\.widths differ too\)"),
        (SPACE, 16, r"input_size = \[3, 32, 32\] there, \[3, 16, 16\] here; profile"),
        (MobileNetV2Space(10, multiplier=0.1), 32, r"space = 'preresnet' there, 'mobilenetv2' here"),
    ],
    ids=["classes", "scored", "architecture", "images", "family"],
)
def test_a_table_of_another_network_is_refused_before_training(tmp_path, table, space, input_size, message):
    file = table()
    with pytest.raises(UserError, match=rf"search\.latency_table = '.*table\.json': latency table: {message}"):
        run(tmp_path / "run", config(file), space=space, input_size=input_size)
    assert not (tmp_path / "run").exists()


def test_tau_is_recorded_and_used(table):
    assert SearchConfig(epochs=1).latency_tau is None
    assert config("t.json").latency_tau == 0.4
    scores = [torch.full((group.size,), 0.7) for group in SPACE.groups]
    values = [
        make_penalty(config(table(), latency_tau=tau), SPACE, input_size=INPUT).value(scores) for tau in (0.2, 0.7)
    ]
    assert values[1] < 0.8 * values[0]


def test_a_table_of_another_machine_will_do(tmp_path):
    """The made-up table's device, backend and versions are nobody's; the search runs where the data are."""
    space = SwinSpace(10, "swin_tiny_patch4_window7_224", input_size=32, options={"depths": [1], "num_heads": [2]})
    table = made_up_table(space, INPUT)
    table.save(tmp_path / "table.json")
    assert make_penalty(config(str(tmp_path / "table.json")), space, input_size=INPUT).value(
        [torch.full((group.size,), 1e6) for group in space.groups]
    ).item() == pytest.approx(20.0, rel=1e-5)


def test_files_that_are_no_tables_are_refused_before_training(tmp_path, table):
    whole = read_json(table())
    cases = [(None, "no such file"), ("{}", "format is missing"), ("{", "not valid JSON")]
    lost = {name: op for name, op in whole["operators"].items() if name != "layer1.0.conv2"}
    cases.append((json.dumps({**whole, "operators": lost}), r"has no operator 'layer1\.0\.conv2'"))
    for text, message in cases:
        file = tmp_path / "other.json"
        if text is not None:
            file.write_text(text)
        with pytest.raises(UserError, match=rf"search\.latency_table = '.*other\.json': .*{message}"):
            run(tmp_path / "run", config(str(file)))
    assert not (tmp_path / "run").exists()
