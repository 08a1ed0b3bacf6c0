"""The `taylor` method with a latency table: plain without a weight, costly groups last with one, refusals first.

Some ten seconds.
"""

import pytest
import torch
from latency_tables import made_up_table
from quiet import Quiet

from compress.engine.data import DataConfig, load_data
from compress.engine.penalising import check_latency_table, make_savings
from compress.engine.searching import search
from compress.engine.settings import SearchConfig
from compress.engine.tasks import Classification
from compress.engine.training import Job
from compress.plan import UserError
from compress.pruning import Budget, select
from compress.search import channel_savings, latency_aware
from compress.spaces import MobileNetV2Space, PreResNetSpace

SPACE = PreResNetSpace(11, 10)
INPUT = (3, 32, 32)
DEAR = "layer2.0.conv1"
"""The group that the operator of the same name makes alone: a hundred times as dear in the table."""


@pytest.fixture
def file(tmp_path):
    made_up_table(SPACE, INPUT, factors={DEAR: 100}).save(tmp_path / "table.json")
    return str(tmp_path / "table.json")


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(limit=64), seed=0)


def config(weight=None, **changes):
    method = {"type": "taylor", "batches": 2, **({} if weight is None else {"latency_weight": weight})}
    return SearchConfig(**{"epochs": 1, "batch_size": 16, "method": method, **changes})


def found(folder, data, settings, *, space=SPACE):
    torch.manual_seed(0)
    job = Job(folder / "search", folder / "metrics.jsonl", "search", 3, Quiet())
    return search(space.build(), space, Classification(data), settings, job, evaluate=lambda _: {})


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_weight_of_zero_is_plain_taylor_to_the_bit(tmp_path, data):
    plain, zero = (found(tmp_path, data, config(weight)) for weight in (None, 0.0))
    assert same(plain.scores, zero.scores)
    assert (plain.info["type"], zero.info["latency_weight"]) == ("taylor", 0.0)


def test_scores_are_plain_taylors_with_the_tables_savings(tmp_path, data, file):
    plain, aware = found(tmp_path, data, config()), found(tmp_path, data, config(0.7, latency_table=file))
    table = made_up_table(SPACE, INPUT, factors={DEAR: 100})
    expected = latency_aware(plain.scores, channel_savings(table, SPACE, INPUT), 0.7)
    torch.testing.assert_close(aware.scores, expected, atol=1e-6, rtol=1e-4)  # the file has six digits
    assert aware.info["latency_weight"] == 0.7
    assert all(score.dtype == torch.float32 and (score >= 0).all() for score in aware.scores.values())
    assert same(aware.scores, found(tmp_path, data, config(0.7, latency_table=file)).scores)


def test_a_large_weight_prunes_the_costly_group_first(tmp_path, data, file):
    scores = [found(tmp_path, data, settings).scores for settings in (config(), config(1e3, latency_table=file))]
    n = len(scores[0][DEAR])
    n_all = sum(map(len, scores[0].values()))
    plans = [select(s, SPACE.operators(INPUT), Budget("pruning_ratio", n / n_all), space=SPACE.name) for s in scores]
    assert plans[1].widths[DEAR] == 1, "the floor"
    assert plans[0].widths[DEAR] > n // 2


@pytest.mark.parametrize(
    ("weight", "changes", "message"),
    [
        (1.0, {}, r"search\.latency_table = None: search\.method\.latency_weight above 0 needs a table.*profile"),
        (1.0, {"latency_table": ""}, r"search\.latency_table = '': .*needs a table"),
        (0.0, {"latency_table": "t.json"}, r"search\.latency_table = 't\.json': has no use with .*latency_weight = 0;"),
        (None, {"latency_table": "t.json"}, r"search\.latency_table = 't\.json': has no use .*above 0, or leave"),
        (
            1.0,
            {"latency_table": "t.json", "latency_tau": 0.4},
            r"search\.latency_tau = 0\.4: has no use with search\.p",
        ),
        (1.0, {"latency_table": "t.json", "penalty": "latency"}, "'latency': taylor has no gates"),
        (-1.0, {"latency_table": "t.json"}, r"search\.method\.latency_weight = -1\.0: must be .*at least 0"),
        (float("nan"), {"latency_table": "t.json"}, r"search\.method\.latency_weight = nan"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(weight, changes, message):
    with pytest.raises(UserError, match=message) as refused:
        config(weight, **changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["magnitude", "random", "rarts"])
def test_other_methods_take_neither_a_weight_nor_a_table(kind):
    with pytest.raises(UserError, match=rf"search\.method\.latency_weight: {kind} has no such parameter"):
        SearchConfig(epochs=1, method={"type": kind, "latency_weight": 1.0})
    with pytest.raises(UserError, match=r"search\.latency_table = 't\.json': has no use with search\.penalty"):
        SearchConfig(epochs=1, method={"type": kind}, latency_table="t.json")


@pytest.mark.parametrize(
    ("space", "input_size", "message"),
    [
        (PreResNetSpace(11, 7), INPUT, r"arch\.num_classes = 10 there, 7 here"),
        (SPACE, (3, 16, 16), r"input_size = \[3, 32, 32\] there, \[3, 16, 16\] here"),
        (MobileNetV2Space(10, multiplier=0.1), INPUT, r"space = 'preresnet' there, 'mobilenetv2' here"),
    ],
    ids=["classes", "images", "family"],
)
def test_a_table_of_another_network_is_refused(file, space, input_size, message):
    for use in (make_savings, check_latency_table):
        with pytest.raises(UserError, match=rf"search\.latency_table = '.*table\.json': latency table: {message}"):
            use(config(1.0, latency_table=file), space, input_size=input_size)


def test_a_file_that_is_missing_or_broken_is_refused_before_any_gradient(tmp_path, data):
    network = SPACE.build().requires_grad_(False)
    for text, message in ((None, "no such file"), ("{}", "format is missing"), ("{", "not valid JSON")):
        path = tmp_path / "other.json"
        if text is not None:
            path.write_text(text)
        settings = config(1.0, latency_table=str(path))
        job = Job(tmp_path / "search", tmp_path / "metrics.jsonl", "search", 3, Quiet())
        with pytest.raises(UserError, match=rf"search\.latency_table = '.*other\.json': .*{message}"):
            search(network, SPACE, Classification(data), settings, job, evaluate=lambda _: {})


def test_only_searches_that_read_a_table_have_one_to_check(file):
    other = PreResNetSpace(11, 7)
    for settings in (config(), SearchConfig(epochs=1)):
        check_latency_table(settings, other, input_size=INPUT)
    for settings in (config(1.0, latency_table=file), SearchConfig(epochs=1, penalty="latency", latency_table=file)):
        check_latency_table(settings, SPACE, input_size=INPUT)
        with pytest.raises(UserError, match="num_classes"):
            check_latency_table(settings, other, input_size=INPUT)
