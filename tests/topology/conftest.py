"""Tiny topology searches, their tables, and what runs them."""

import pytest
from cell_runs import CELLS_RECIPE, cell_options
from cell_tables import timed


@pytest.fixture(scope="session")
def options():
    """`options(search__epochs=2)`: the --cfg-options of a tiny search, with changes."""
    return cell_options


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A table of true accuracies of all cells, made up: more 3x3 convolutions are better, skips cost little."""
    import itertools

    from compress.plan import NATS, Genotype

    worth = {"none": 0, "skip_connect": 3, "nor_conv_1x1": 6, "nor_conv_3x3": 9, "avg_pool_3x3": 2}
    path = tmp_path_factory.mktemp("bench") / "table.csv"
    lines = ["CIFAR10TestAccuracy,CIFAR100TestAccuracy,ArchitectureString"]
    for names in itertools.product(NATS.operations, repeat=len(NATS.edges)):
        edges = iter(names)
        nodes = tuple(tuple((next(edges), source) for source in range(node)) for node in (1, 2, 3))
        value = 10 + sum(worth[name] for name in names)
        lines.append(f"{value},{value / 2},{Genotype('nats', {'cell': nodes}).text}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def found(tool, options, table, tmp_path_factory):
    """A finished search with its true accuracies: the folder, and what was printed. Only read it."""
    folder = tmp_path_factory.mktemp("cells") / "run"
    known = {"bench__file": table, "bench__dataset": "cifar10"}
    result = tool("search_topology", CELLS_RECIPE, "--work-dir", folder, *options(**known))
    assert (result.code, result.stderr) == (0, "")
    return folder, result.stdout


__all__ = ["found", "options", "table", "timed"]
