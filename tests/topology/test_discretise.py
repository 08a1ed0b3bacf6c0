"""Cells read off scores, on scores made by hand."""

from __future__ import annotations

import torch

from compress.plan import DARTS, NATS
from compress.topology import discretise


def scores_of(cells, rows):
    """{edge: {operation: value}} of the first cell, everything else 0."""
    out = {f"{cell}.{i}": torch.zeros(len(cells.operations)) for cell in cells.cells for i in range(len(cells.edges))}
    for edge, values in rows.items():
        for name, value in values.items():
            out[f"{cells.cells[0]}.{cells.edges.index(edge)}"][cells.operations.index(name)] = value
    return out


def test_every_edge_takes_its_best_operation_and_none_only_where_allowed():
    scores = scores_of(NATS, {(0, 1): {"none": 0.9, "nor_conv_3x3": 0.5}, (1, 3): {"skip_connect": 0.2}})
    assert discretise(scores, NATS).cells["cell"][0] == (("nor_conv_3x3", 0),)
    assert discretise(scores, NATS, allow_none=True).cells["cell"][0] == (("none", 0),)
    assert discretise(scores, NATS).cells["cell"][2][1] == ("skip_connect", 1)


def test_of_equal_operations_the_first_and_of_equal_edges_the_earliest():
    even = discretise(scores_of(NATS, {}), NATS)
    assert {name for _, _, name, _ in even.edges} == {"skip_connect"}  # the first that is not none
    even = discretise(scores_of(DARTS, {}), DARTS)
    assert even.cells["normal"] == ((("max_pool_3x3", 0), ("max_pool_3x3", 1)),) * 4


def test_a_darts_node_keeps_the_two_edges_whose_best_operations_score_highest():
    scores = scores_of(
        DARTS,
        {
            (0, 4): {"sep_conv_3x3": 0.5, "none": 0.9},
            (1, 4): {"none": 1.0, "skip_connect": 0.1},
            (2, 4): {"dil_conv_5x5": 0.3, "sep_conv_5x5": 0.29},
            (3, 4): {"avg_pool_3x3": 0.4},
        },
    )
    node = discretise(scores, DARTS, allow_none=True).cells["normal"][2]
    assert node == (("sep_conv_3x3", 0), ("avg_pool_3x3", 3))


def test_ties_between_the_second_edge_and_a_later_one():
    rows = {(source, 5): {"sep_conv_3x3": value} for source, value in enumerate((0.1, 0.3, 0.3, 0.3, 0.2))}
    node = discretise(scores_of(DARTS, rows), DARTS).cells["normal"][3]
    assert node == (("sep_conv_3x3", 1), ("sep_conv_3x3", 2))
