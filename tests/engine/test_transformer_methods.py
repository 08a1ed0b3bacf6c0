"""Every search method with gates, and every scorer, on a tiny Swin; the others say in one line that they cannot."""

import pytest
import torch
from quiet import Quiet

from compress.engine.data import DataConfig, load_data
from compress.engine.searchers import SearchModel
from compress.engine.searching import search
from compress.engine.settings import SearchConfig
from compress.engine.tasks import Classification
from compress.engine.training import Job
from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.search import METHODS
from compress.spaces import SwinSpace, VitSpace, sizes

# Two blocks, the second with shifted windows; 8 x 8 patches in windows of 4.
OPTIONS = {"window_size": 4, "embed_dim": 16, "depths": (2,), "num_heads": (2,), "drop_path_rate": 0.2}
SPACE = SwinSpace(10, "swin_tiny_patch4_window7_224", input_size=32, options=OPTIONS)
VTP = SwinSpace(10, "swin_tiny_patch4_window7_224", input_size=32, options=OPTIONS, scored="vtp")
VIT = VitSpace(10, "vit_tiny_patch16_224", input_size=32, options={"depth": 1, "drop_path_rate": 0.1})
ADAMW = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05}
SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
APPLICABLE = [
    {"type": "rarts"},
    {"type": "rarts", "order": "fused"},
    {"type": "darts1"},
    {"type": "darts2"},
    {"type": "milenas1"},
    {"type": "joint"},
    {"type": "rvsm", "penalty": "l1"},
    {"type": "rvsm", "penalty": "l0"},
    {"type": "wdpruning"},
    {"type": "random"},
    {"type": "magnitude"},
    {"type": "taylor", "batches": 1},
]


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(limit=32, input_size=32), seed=0)


def run(folder, data, method, *, space=SPACE, **changes):
    torch.manual_seed(0)
    network = space.build()
    settings = {"epochs": 1, "batch_size": 16, "gamma": 0.05, "optimizer": ADAMW, "alpha_optimizer": SGD}
    job = Job(folder / "search", folder / "metrics.jsonl", "search", 3, Quiet())
    config = SearchConfig(**{**settings, "method": method, **changes})
    return network, search(network, space, Classification(data), config, job, evaluate=lambda _: {})


def weights_that_differ(a, b):
    return {name for name, value in a.state_dict().items() if not torch.equal(value, b.state_dict()[name])}


@pytest.mark.parametrize("method", APPLICABLE, ids=lambda m: "-".join(map(str, m.values())))
def test_scores_and_a_plain_network_come_out(tmp_path, data, method):
    network, found = run(tmp_path, data, method)
    assert {name: len(score) for name, score in found.scores.items()} == sizes(SPACE.groups)
    for name, score in found.scores.items():
        assert score.dtype == torch.float32
        assert torch.isfinite(score).all()
        assert float(score.std()) > 0, name
    assert [type(module) for module in found.network.modules()] == [type(module) for module in network.modules()]
    trained = METHODS[method["type"]].networks > 0
    assert bool(weights_that_differ(found.network, network)) == trained
    kept = {name: tuple(sorted(score.abs().topk(3).indices.tolist())) for name, score in found.scores.items()}
    small, _ = slice_model(found.network, SPACE, WidthPlan(SPACE.name, sizes(SPACE.groups), kept))
    assert torch.isfinite(small.eval()(torch.randn(1, 3, 32, 32))).all()


@pytest.mark.parametrize("space", [VTP, VIT], ids=["swin-vtp", "vit"])
@pytest.mark.parametrize("method", [{"type": "rarts", "order": "fused"}, {"type": "magnitude"}, {"type": "taylor"}])
def test_features_of_vtp_and_vits_are_scored_alike(tmp_path, data, space, method):
    _, found = run(tmp_path, data, method, space=space)
    assert {name: len(score) for name, score in found.scores.items()} == sizes(space.groups)
    assert all(float(score.std()) > 0 for score in found.scores.values())


@pytest.mark.parametrize("weights", ["u", "w", "average"])
def test_the_weights_that_go_on_are_those_searched_with_the_scores_folded(weights):
    model = two_networks(weights=weights)
    with torch.no_grad():
        for i, own in enumerate((model.u, model.w)):
            own.layers[0].blocks[1].attn.qkv.weight.fill_(1 + 2 * i)
            own.layers[0].blocks[1].mlp.fc2.weight.fill_(1 + 2 * i)
        model.source["layers.0.blocks.1.attn"].copy_(torch.arange(8.0))
        model.source["layers.0.blocks.1.mlp"].copy_(torch.arange(64.0))
    block = model.folded(SPACE).layers[0].blocks[1]
    size = {"u": 1, "w": 3, "average": 2}[weights]
    torch.testing.assert_close(block.attn.qkv.weight[:, 5], size * torch.arange(8.0).repeat(3 * 2))
    torch.testing.assert_close(block.mlp.fc2.weight[5], size * torch.arange(64.0))


def two_networks(**changes):
    torch.manual_seed(0)
    config = SearchConfig(epochs=1, batch_size=16, optimizer=ADAMW, alpha_optimizer=SGD, **changes)
    return SearchModel(SPACE.build(), SPACE, config, input_size=(3, 32, 32))


def test_both_weight_sets_drop_paths_at_the_same_rates():
    model = two_networks()
    u, w, folded = (
        {name: module.drop_prob for name, module in network.named_modules() if hasattr(module, "drop_prob")}
        for network in (model.u, model.w, model.folded(SPACE))
    )
    assert u == w == folded
    assert max(u.values()) == pytest.approx(0.2)


def test_both_weight_sets_read_one_alpha_and_own_their_weights():
    model = two_networks()
    u, w = (dict(network.named_parameters()) for network in (model.u, model.w))
    assert u.keys() == w.keys() == dict(SPACE.build().named_parameters()).keys()
    assert all(u[name] is not w[name] for name in u)
    x = torch.randn(1, 3, 32, 32)
    model.eval()
    before = model.u(x), model.w(x)
    assert torch.equal(*before)
    with torch.no_grad():
        model.source["layers.0.blocks.0.mlp"][:32] = 0
    assert torch.equal(model.u(x), model.w(x))
    assert not torch.equal(model.u(x), before[0])


def test_proximal_search_reaches_exact_zeros_in_heads_and_mlps(tmp_path, data):
    _, found = run(tmp_path, data, {"type": "rarts"}, penalty="proximal", gamma=8.0, epochs=3)
    zeros = {name: int((score == 0).sum()) for name, score in found.scores.items()}
    assert sum(n for name, n in zeros.items() if name.endswith("attn")) > 0
    assert sum(n for name, n in zeros.items() if name.endswith("mlp")) > 0


@pytest.mark.parametrize("space", [SPACE, VTP], ids=["sidt", "vtp"])
@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"type": "netslim"}, r"search\.method\.type = 'netslim': group \S+ has no BatchNorm.*use 'rarts' or 'joint'"),
        ({"type": "tas"}, r"search\.method\.type = 'tas': interpolates channels.*swin does not have; use 'rarts'"),
        ({"type": "grouplasso"}, r"search\.method\.type = 'grouplasso': group 'layers\.0\S+' has no filters.*'rarts'"),
        ({"type": "rvsm", "penalty": "group"}, r"search\.method\.type = 'rvsm': group \S+ has no filters.*'rarts'"),
    ],
    ids=["netslim", "tas", "grouplasso", "rvsm-group"],
)
def test_methods_that_do_not_apply_are_refused_in_one_line(tmp_path, data, space, method, message):
    with pytest.raises(UserError, match=message) as caught:
        run(tmp_path, data, method, space=space)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("stage", ["search", "train"])
def test_a_run_starts_from_the_weights_it_is_given(stage, tmp_path):
    """timm's networks have an `init_weights` of their own, which MMEngine's Runner would call."""
    from compress.engine.searchers import SearchModel
    from compress.engine.settings import SearchConfig
    from compress.engine.training import Classifier

    space = SwinSpace(
        4,
        "swin_tiny_patch4_window7_224",
        input_size=32,
        options={"embed_dim": 24, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4},
    )
    network = space.build()
    given = {name: value.clone() for name, value in network.state_dict().items()}
    model = (
        Classifier(network)
        if stage == "train"
        else SearchModel(network, space, SearchConfig(epochs=1), input_size=(3, 32, 32))
    )
    model.init_weights()
    kept = model.network if stage == "train" else model.u
    assert all(torch.equal(value, given[name]) for name, value in kept.state_dict().items())
