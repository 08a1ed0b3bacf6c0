"""Topology searches under the latency penalty: what they read, what it does to cells, what a run says of it."""

import json
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from cell_tables import SIZE, made_up_table

from compress.engine.penalising import make_penalty
from compress.engine.searchers import SearchModel
from compress.penalties import ExpectedLatency
from compress.plan import DARTS, NATS, Genotype, UserError
from compress.topology import DartsSupernetSpace, NatsSupernetSpace, TopologySearch, discretise
from compress.topology.latency import CellTable

RECIPE = Path(__file__).resolve().parents[2] / "recipes/topology/nats_digits_rarts.py"
SPACES = {NATS: NatsSupernetSpace(channels=4, layers=1), DARTS: DartsSupernetSpace(channels=4, layers=3)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """{space: file} of tables that are made up."""
    folder = tmp_path_factory.mktemp("tables")
    for cells in (NATS, DARTS):
        made_up_table(cells).save(folder / f"{cells.name}.json")
    return {cells: str(folder / f"{cells.name}.json") for cells in (NATS, DARTS)}


def settings(table, gamma=1.0, **more):
    rate = {"type": "SGD", "lr": 1.0}
    return TopologySearch(
        1, {"type": "joint"}, gamma=gamma, penalty="latency", latency_table=table, alpha_optimizer=rate, **more
    )


@pytest.mark.parametrize("cells", [NATS, DARTS], ids=lambda cells: cells.name)
def test_the_penalty_is_the_expected_latency_among_operations_that_are_not_none(cells, tables):
    space, table = SPACES[cells], CellTable.load(tables[cells])
    penalty = make_penalty(settings(tables[cells], gamma=0.5), space, input_size=SIZE)
    assert isinstance(penalty, ExpectedLatency)
    alphas = [torch.zeros(len(cells.edges), len(cells.operations)) for _ in cells.cells]
    even = sum(rows[:, 1:].mean(1).sum() for rows in table.costs.values())
    assert penalty.value(alphas).item() == pytest.approx(0.5 * even, rel=1e-5)
    gradients = [torch.zeros_like(a) for a in alphas]
    penalty.add_gradient(alphas, gradients)
    for gradient in gradients:
        assert (gradient[:, cells.operations.index("none")] == 0).all()
        assert (gradient[:, 1:] != 0).any()


@pytest.mark.parametrize("relaxation", ["softmax", "sigmoid"])
def test_a_large_gamma_ends_at_the_cheapest_connected_cell(relaxation, tables):
    torch.manual_seed(0)
    space = NatsSupernetSpace(channels=2, layers=1, num_classes=3, relaxation=relaxation)
    model = SearchModel(space.build(), space, settings(tables[NATS], gamma=100.0), input_size=SIZE).train()
    optimizers = model.optimizers()
    for _ in range(5):
        model.train_step((torch.randn(4, *SIZE), torch.arange(4) % 3), optimizers)
    found = discretise(model.scores(), NATS, allow_none=True)
    assert found.share("skip_connect") == 1


def test_partial_channels_have_weights_of_edges_which_no_latency_pulls(tables):
    torch.manual_seed(0)
    space = DartsSupernetSpace(channels=4, layers=3, num_classes=3, partial=2, edge_norm=True)
    model = SearchModel(space.build(), space, settings(tables[DARTS]), input_size=SIZE)
    alphas = model.source.alpha()
    gradients = [torch.zeros_like(a) for a in alphas]
    model.penalty.add_gradient(alphas, gradients)
    assert [bool(gradient.any()) for gradient in gradients] == [True, True, False, False]


def test_tables_of_other_cells_images_or_kinds_are_refused(tables, tmp_path):
    with pytest.raises(UserError, match=r"search\.latency_table = '.*': latency table: of darts cells, and the search"):
        make_penalty(settings(tables[DARTS]), SPACES[NATS], input_size=SIZE)
    with pytest.raises(UserError, match=r"input_size = \[3, 16, 16\] there, \[3, 32, 32\] here"):
        make_penalty(settings(tables[NATS]), SPACES[NATS], input_size=(3, 32, 32))
    with pytest.raises(UserError, match=r"search\.latency_table = 'none\.json': no such file"):
        make_penalty(settings("none.json"), SPACES[NATS], input_size=SIZE)
    with pytest.raises(UserError, match=r"search\.latency_tau = 0\.4: has no use in this search; leave it away"):
        settings(tables[NATS], latency_tau=0.4)
    with pytest.raises(UserError, match=r"search\.latency_table = None: .*needs a table"):
        settings(None)
    with pytest.raises(
        UserError, match=r"search\.penalty = 'latency': random has no edges for it to act on; use .*rarts"
    ):
        TopologySearch(1, {"type": "random"}, penalty="latency", latency_table="t.json")
    assert settings(tables[NATS]).latency_tau is None


def test_a_run_says_what_its_cell_is_predicted_to_take(tool, options, tables, tmp_path):
    folder = tmp_path / "run"
    own = {"search__penalty": "latency", "search__latency_table": tables[NATS], "search__gamma": 1.0}
    result = tool("search_topology", RECIPE, "--work-dir", folder, *options(search__epochs=1, **own))
    assert (result.code, result.stderr) == (0, "")
    summary, table = json.loads((folder / "summary.json").read_text()), CellTable.load(tables[NATS])
    latency = table.predict(Genotype.load(folder / "genotype.json"))
    found = summary["predicted_latency"]
    assert (found["ms"], found["ratio"], found["reference_network_ms"]) == (*reversed(latency), 2.0)
    assert found["reference"] == table.reference.text
    assert found["backend"] == "onnxruntime"
    assert "Predicted latency" in (folder / "report.html").read_text()
    record = json.loads((folder / "recipe.json").read_text())["latency_table"]
    assert record["readers"] == ["search"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target__channels": 8}, ("search.latency_table", "arch.channels = 16 there, 8 here")),
        ({"data__resize": 32, "data__input_size": 32}, ("search.latency_table", "input_size")),
        ({"search__latency_table": "no.json"}, ("search.latency_table = 'no.json'", "no such file")),
    ],
    ids=["target", "images", "file"],
)
def test_tables_that_are_not_the_targets_are_one_line(refused, options, tables, changes, says):
    own = {"search__penalty": "latency", "search__latency_table": tables[NATS], **changes}
    refused("search_topology", RECIPE, *options(**own), says=says)


def test_a_run_goes_on_with_its_own_table_alone_wherever_it_lies(refused, tool, options, tables, tmp_path):
    """Stopped in the middle of its search, it ends with the bytes of a run that nothing stopped."""
    table, whole, folder, moved = (tmp_path / name for name in ("table.json", "whole", "run", "moved/t.json"))
    shutil.copy(tables[NATS], table)

    def asked(file, **more):
        own = {"search__penalty": "latency", "search__latency_table": file, "search__gamma": 1.0}
        return (RECIPE, *options(search__epochs=4, **own, **more))

    assert tool("search_topology", *asked(table), "--work-dir", whole).code == 0
    running = tool.start("search_topology", *asked(table), "--work-dir", folder)
    running.wait_until(lambda: (folder / "search/last.pth").exists())
    running.send(signal.SIGTERM)
    assert running.wait().code == 143
    refuse = partial(refused, "search_topology", "--resume", work_dir=folder)

    table.write_text(table.read_text().replace('"network_ms": 2.0', '"network_ms": 3.0'))
    says = (f"error: search.latency_table = '{table}': has changed since the run began; restore it",)
    refuse(*asked(table), says=says)
    table.unlink()
    says = (f"error: search.latency_table = '{table}': no such file", "give it as search.latency_table again")
    refuse(*asked(table), says=says)
    moved.parent.mkdir()
    made_up_table(NATS, device="another").save(moved)
    refuse(*asked(moved), says=("other settings", "latency_table"))

    shutil.copy(tables[NATS], moved)
    result = tool("search_topology", *asked(moved), "--work-dir", folder, "--resume")
    assert (result.code, result.stderr) == (0, "")
    for name in ("genotype.json", "scores.safetensors", "recipe.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    summaries = [{**json.loads((run / "summary.json").read_text()), "seconds": 0} for run in (folder, whole)]
    assert summaries[0] == summaries[1]


def test_a_report_alone_needs_no_table(tool, options, tables, tmp_path):
    table, folder = tmp_path / "table.json", tmp_path / "run"
    shutil.copy(tables[NATS], table)
    asked = RECIPE, *options(search__epochs=1, search__penalty="latency", search__latency_table=table)
    for stage in ("search", "discretise"):
        assert tool("search_topology", *asked, "--work-dir", folder, "--stage", stage).code == 0
    table.unlink()
    assert tool("search_topology", *asked, "--work-dir", folder, "--resume").code == 0
    assert "predicted_latency" in json.loads((folder / "summary.json").read_text())
