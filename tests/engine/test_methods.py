"""Every method runs on the Runner and hands over the same things: scores of every group and a plain network."""

import json

import pytest
import torch
from quiet import Quiet

from compress.engine.data import DataConfig, load_data
from compress.engine.searchers import SearchModel
from compress.engine.searching import search
from compress.engine.settings import SearchConfig
from compress.engine.tasks import Classification
from compress.engine.training import Job
from compress.plan import UserError
from compress.search import METHODS
from compress.spaces import MobileNetV2Space, PreResNetSpace, sizes

SPACE = PreResNetSpace(11, 10)
VARIANTS = [
    *({"type": name} for name in METHODS),
    {"type": "rvsm", "penalty": "l0"},
    {"type": "rvsm", "penalty": "group"},
    {"type": "magnitude", "p": 2},
]


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(limit=64, input_size=16, resize=16), seed=0)


def run(folder, data, method, *, space=SPACE, **changes):
    torch.manual_seed(0)
    network = space.build()
    config = SearchConfig(**{"epochs": 1, "batch_size": 16, "gamma": 0.05, "method": method, **changes})
    job = Job(folder / "search", folder / "metrics.jsonl", "search", 3, Quiet())
    return network, search(network, space, Classification(data), config, job, evaluate=lambda _: {})


@pytest.mark.parametrize("method", VARIANTS, ids=lambda m: "-".join(map(str, m.values())))
def test_every_method_hands_over_scores_and_a_plain_network(tmp_path, data, method):
    network, found = run(tmp_path / "a", data, method)
    assert {name: len(score) for name, score in found.scores.items()} == sizes(SPACE.groups)
    assert all(score.dtype == torch.float32 and torch.isfinite(score).all() for score in found.scores.values())
    assert found.info["type"] == method["type"]
    assert found.network.state_dict().keys() == network.state_dict().keys()
    assert not any(hasattr(module, "score") for module in found.network.modules())
    trained = not torch.equal(found.network.fc.weight, network.fc.weight)
    assert trained == (METHODS[method["type"]].networks > 0)
    _, again = run(tmp_path / "b", data, method)
    assert all(torch.equal(score, again.scores[name]) for name, score in found.scores.items())


def test_virtual_passes_leave_batch_norm_statistics(data):
    """DARTS's probes are not training: its statistics see one batch per step, as plain training's."""
    network = SPACE.build()
    model = SearchModel(network, SPACE, SearchConfig(epochs=1, method={"type": "darts2"}), input_size=(3, 32, 32))
    batch = (torch.randn(4, 3, 32, 32), torch.arange(4))
    model.train_step({"p": batch, "a": batch}, model.optimizers())
    assert int(model.w.bn.num_batches_tracked) == 1
    before = {name: value.clone() for name, value in model.w.state_dict().items()}
    model.criterion(model.w, batch, probe=True).backward()
    assert all(torch.equal(value, before[name]) for name, value in model.w.state_dict().items())


def test_proximal_search_of_mobilenetv2_reaches_exact_zeros(tmp_path, data):
    space = MobileNetV2Space(num_classes=10, multiplier=0.1)
    _, found = run(
        tmp_path, data, {"type": "rarts", "order": "fused"}, space=space, penalty="proximal", gamma=30.0, epochs=2
    )
    scores = torch.cat(list(found.scores.values()))
    assert int((scores == 0).sum()) > len(scores) // 10


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"type": "darts2", "order": "fused"}, r"search\.method\.order: darts2 has no such parameter"),
        ({"type": "tas", "ratios": (0.5,)}, r"search\.method\.ratios"),
        ({"type": "tas", "tau": "5"}, r"search\.method\.tau = '5'"),
        ({"type": "rvsm", "penalty": "l2"}, r"search\.method\.penalty = 'l2'"),
        ({"type": "rvsm", "beta": 0}, r"search\.method\.beta = 0"),
        ({"type": "magnitude", "p": "x"}, r"search\.method\.p = 'x'"),
        ({"type": "taylor", "batches": 0}, r"search\.method\.batches = 0"),
        ({"type": "darts2", "epsilon": 0}, r"search\.method\.epsilon = 0"),
        ({"type": "milenas1", "lam": -1}, r"search\.method\.lam = -1"),
    ],
)
def test_methods_say_what_they_cannot_do(method, message):
    with pytest.raises(UserError, match=message):
        SearchConfig(epochs=1, method=method)


@pytest.mark.parametrize("method", [{"type": "grouplasso"}, {"type": "rvsm", "penalty": "group"}])
def test_filter_methods_need_filters_to_score(tmp_path, data, method):
    with pytest.raises(UserError, match=r"'layer1\.0\.input' has no filters of its own"):
        run(tmp_path, data, method, space=PreResNetSpace(11, 10, score_inputs=True))


@pytest.mark.parametrize("kind", ["rarts", "joint"])
def test_fixed_scale_keeps_every_group_at_root_mean_square_one(tmp_path, data, kind):
    _, found = run(tmp_path, data, {"type": kind}, fixed_scale=True, gamma=1.0)
    for score in found.scores.values():
        assert float(score.square().mean().sqrt()) == pytest.approx(1.0, abs=1e-5)
        assert float(score.std()) > 1e-5, "they were all 1 at the start"


def test_fixed_scale_is_refused_without_gates():
    with pytest.raises(UserError, match="netslim has no gates to scale"):
        SearchConfig(epochs=1, method={"type": "netslim"}, fixed_scale=True)


def test_halves_have_equally_many_batches(tmp_path):
    """65 images at batch 11: halves of 33 and 32 would give 3 and 2 batches, and a mean loss over 3."""
    run(tmp_path, load_data(DataConfig(limit=65), seed=0), {"type": "rarts"}, batch_size=11)
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 1
    assert json.loads(rows[0])["loss_p"] > 1.8
