"""Latency tables of detectors: whole calls, of which only the backbone's part changes with the widths."""

import pytest
import torch

pytest.importorskip("mmdet")
from latency_tables import made_up_table
from whole_detectors import detector, model_section

from compress.detection import DetectorSpace
from compress.detection.export.timing import UNSEEN, TimedDetector
from compress.detection.task import DetectionTask
from compress.engine.searchers import SearchModel
from compress.engine.settings import SearchConfig
from compress.measure.graphs import WidthGraphs
from compress.measure.networks import check_graphs, timing_network
from compress.measure.owners import REST, owner_of
from compress.plan import WidthPlan
from compress.pruning import Budget, Priced, plan_for
from compress.pruning.select import SelectConfig
from compress.spaces import sizes

SIZE = (3, 128, 128)
ADAMW = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05}


@pytest.fixture(scope="module")
def small(space):
    return DetectorSpace(num_classes=80, model=model_section(space.model, "faster"))


@pytest.fixture(scope="module")
def table_file(small, tmp_path_factory):
    file = tmp_path_factory.mktemp("table") / "table.json"
    made_up_table(small, SIZE).save(file)
    return file


def test_what_is_timed_hangs_on_every_layer_and_on_what_is_detected(space):
    network = detector(space.model, "mask")
    network.roi_head.test_cfg.score_thr = 0.0
    images = torch.randn(1, *SIZE, generator=torch.Generator().manual_seed(0))
    timed = TimedDetector(network, SIZE)
    with torch.no_grad():
        before = timed(images)
        timed.backbone.stages[3].blocks[0].ffn.layers[1].bias.add_(1)
        other = timed(images)
        timed.roi_head.mask_head.conv_logits.bias.add_(1)
        masked = timed(images)
    assert before.shape == (1, 5 * 64 + 1)
    assert not torch.equal(before[:, :-1], other[:, :-1])
    assert torch.equal(masked[:, :-1], other[:, :-1])
    assert masked[0, -1] > other[0, -1]
    assert 0 < float(masked[0, -1]) < 1e9 * UNSEEN


@pytest.mark.slow
def test_a_whole_detector_is_cut_in_its_graph(small):
    """Some 25 s: one export. Whoever measures a table is told of a wrong graph too."""
    model = timing_network(small, SIZE)
    graphs = WidthGraphs(model, small, input_size=SIZE)
    images = torch.randn(1, *SIZE, generator=torch.Generator().manual_seed(0))
    assert check_graphs(graphs, model, small, {name: n // 2 for name, n in sizes(small.groups).items()}, images) < 1e-4
    owners = {owner_of(node.name) for node in graphs.proto.graph.node}
    backbone = {op.name for op in small.operators(SIZE) if op.kind != "parameter"}
    assert backbone | {REST} == owners
    # All that follows the backbone is the rest: of one convolution of the neck, say, no operator owns the time.
    assert sum(owner_of(node.name) == REST for node in graphs.proto.graph.node) > len(graphs.proto.graph.node) / 3


def test_a_budget_of_latency_takes_the_rest_of_the_call_as_it_is(small):
    table = made_up_table(small, SIZE)
    generator = torch.Generator().manual_seed(0)
    scores = {group.name: torch.rand(group.size, generator=generator) for group in small.groups}
    plan = plan_for(small, scores, Budget("latency_ratio", 0.7), SelectConfig(), input_size=SIZE, priced=Priced(table))
    assert plan.record["latency"]["ratio"] == pytest.approx(0.7, abs=0.02)
    assert plan.record["latency"]["ratio"] <= 0.7
    whole = WidthPlan.whole(small.name, sizes(small.groups))
    assert table.predict(small.operators(SIZE), whole.widths).ratio == pytest.approx(1.0)


def test_a_detectors_search_is_penalised_by_its_table(small, data, table_file):
    settings = {"epochs": 1, "batch_size": 2, "gamma": 0.5, "optimizer": ADAMW, "method": {"type": "joint"}}
    config = SearchConfig(**settings, penalty="latency", latency_table=str(table_file))
    task = DetectionTask(data)
    model = SearchModel(small.build(), small, config, input_size=SIZE, objective=task)
    assert model.penalty.latency.groups == sorted(group.name for group in small.groups)
