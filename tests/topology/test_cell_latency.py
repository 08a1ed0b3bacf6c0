"""Tables of what operations cost on edges: fitted to hand-made models, stored, and refused where they do not fit."""

import json

import numpy as np
import pytest
from cell_tables import SIZE, additive, darts, made_up_table, nats

from compress.measure import prediction_error
from compress.plan import DARTS, NATS, Genotype, UserError
from compress.topology.latency import REFERENCES, CellTable, open_cells, running
from compress.topology.latency_fit import fit_costs, held_out
from compress.topology.latency_page import write_cell_page
from compress.topology.profile import random_genotypes
from compress.topology.published import DARTS_V1


def sums(genotypes, costs, rest):
    return [rest + sum(costs[cell][edge, name] for cell, edge, name in running(g)) for g in genotypes]


def normalised(cells, *, spread):
    """Costs and a constant under which the reference network's ratio is 1."""
    costs = additive(cells, spread=spread)
    whole = sums([REFERENCES[cells.name]], costs, 0.2)[0]
    return {cell: rows / whole for cell, rows in costs.items()}, 0.2 / whole


@pytest.mark.parametrize("cells", [NATS, DARTS], ids=lambda cells: cells.name)
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_an_additive_model_is_recovered(cells, spread):
    """What kinds of operations cost, and in NATS-Bench's space what single edges cost."""
    costs, rest = normalised(cells, spread=spread)
    genotypes = random_genotypes(cells, 60, seed=1)
    ratios = sums(genotypes, costs, rest)
    fit = fit_costs(cells, genotypes, ratios)
    fresh = random_genotypes(cells, 20, seed=2)
    bound = 0.004 if cells is NATS or not spread else 0.2
    error = prediction_error([fit.predict(g) for g in fresh], sums(fresh, costs, rest))
    assert error["p90"] < bound
    assert prediction_error(held_out(cells, genotypes, ratios), ratios)["p90"] < 2 * bound
    if cells is NATS:
        assert abs(fit.rest - rest) < 0.01
        assert np.abs(fit.costs["cell"] - costs["cell"]).max() < 0.01
        assert (fit.ridge is None or fit.ridge >= 10) == (spread == 0)
    for rows in fit.costs.values():
        assert (rows >= 0).all()
        assert (rows[:, cells.operations.index("none")] == 0).all()


def test_noise_is_averaged_by_kinds_and_costs_are_never_negative():
    costs, rest = normalised(NATS, spread=0.0)
    genotypes = random_genotypes(NATS, 40, seed=3)
    rng = np.random.default_rng(0)
    ratios = [ratio * (1 + 0.03 * rng.standard_normal()) for ratio in sums(genotypes, costs, rest)]
    fit = fit_costs(NATS, genotypes, ratios)
    error = prediction_error([fit.predict(g) for g in genotypes], sums(genotypes, costs, rest))
    assert error["median"] < 0.02
    assert (fit.costs["cell"] >= 0).all()
    negative = fit_costs(NATS, genotypes, [2 - ratio for ratio in ratios])  # more operations, less time
    assert (negative.costs["cell"] >= 0).all()
    assert negative.rest >= 0


def test_what_runs():
    """Not `none`, and not what nothing reads: node 1 leads nowhere here."""
    genotype = Genotype.parse("|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|none~0|none~1|skip_connect~2|")
    assert sorted(running(genotype)) == [("cell", 1, 4), ("cell", 5, 1)]
    assert len(list(running(REFERENCES["nats"]))) == 6
    assert len(list(running(DARTS_V1))) == 16
    cut = Genotype.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert list(running(cut)) == []
    table = made_up_table(NATS)
    assert table.predict(cut) == (0.25, 0.5)
    assert table.predict(genotype).ratio == pytest.approx(0.25 + 0.01 + 0.005)


def test_random_cells_are_the_seeds_and_offer_every_operation_equally_often():
    found = random_genotypes(NATS, 40, seed=4)
    assert found == random_genotypes(NATS, 40, seed=4) != random_genotypes(NATS, 40, seed=5)
    for at in range(6):
        names = [list(genotype.edges)[at][2] for genotype in found]
        assert {names.count(name) for name in NATS.operations} == {8}
    shares = [sum(g.share(name) for g in random_genotypes(DARTS, 40, seed=4)) / 40 for name in DARTS.choices]
    assert max(shares) < 0.25
    assert min(shares) > 0.07


@pytest.mark.parametrize("cells", [NATS, DARTS], ids=lambda cells: cells.name)
def test_a_table_on_file_is_the_same_table(cells, tmp_path):
    table = made_up_table(cells)
    table.save(tmp_path / "table.json")
    again = CellTable.load(tmp_path / "table.json")
    for genotype in random_genotypes(cells, 5, seed=6):
        assert again.predict(genotype) == pytest.approx(table.predict(genotype), rel=1e-5)
    assert again.key == table.key
    assert again.record == table.record
    page = write_cell_page(tmp_path / "table.json").read_text()
    assert "reference network" in page
    assert page.count("<tr>") == sum(len(cells.edges) + 1 for _ in cells.cells)
    assert "12.00" in page or cells is DARTS
    with pytest.raises(UserError, match=r"table\.json: is the table itself"):
        write_cell_page(tmp_path / "table.json", tmp_path / "table.json")


def test_tables_of_other_networks_are_refused_and_of_other_devices_taken(tmp_path):
    made_up_table(NATS, device="another").save(tmp_path / "nats.json")
    made_up_table(DARTS).save(tmp_path / "darts.json")
    reference = REFERENCES["nats"]
    table = open_cells(tmp_path / "nats.json", nats(reference), SIZE)
    assert table.where["device"] == "another"
    with pytest.raises(UserError, match=r"input_size = \[3, 16, 16\] there, \[3, 32, 32\] here; profile this one"):
        open_cells(tmp_path / "nats.json", nats(reference), (3, 32, 32))
    with pytest.raises(UserError, match=r"space = 'darts_cells' there, 'nats_cells' here"):
        open_cells(tmp_path / "darts.json", nats(reference), SIZE)
    with pytest.raises(UserError, match=r"space = 'nats_cells' there, 'darts_cells' here"):
        open_cells(tmp_path / "nats.json", darts(REFERENCES["darts"]), SIZE)
    with pytest.raises(UserError, match="device = 'another' there"):
        table.check_key({**table.key, "device": "this"})
    assert table.check_key({**table.key, "device": "this"}, force=True) == ["device"]
    with pytest.raises(UserError, match="must be one of nats, and is one of darts"):
        table.predict(DARTS_V1)


WRONG = {
    "format": (lambda v: v.update(format=2), "format"),
    "key": (lambda v: v.pop("key"), "key"),
    "cells": (lambda v: v.update(cells="x"), "cells.*must be one of darts, nats"),
    "other cells": (lambda v: v.update(cells="darts"), "costs must be of normal, reduction"),
    "costs": (lambda v: v["costs"]["cell"].pop(), "costs.cell must be 6 edges x 5 operations"),
    "row": (lambda v: v["costs"]["cell"][2].append(0.1), "costs.cell must be 6 edges x 5 operations"),
    "negative": (lambda v: v["costs"]["cell"][2].__setitem__(1, -0.1), r"costs\.cell\.2\.1"),
    "text": (lambda v: v["costs"]["cell"][2].__setitem__(1, "x"), r"costs\.cell\.2\.1"),
    "network_ms": (lambda v: v.update(network_ms=0.0), "network_ms"),
    "designs": (lambda v: v.update(designs=[]), "designs"),
    "genotype": (lambda v: v["designs"][1].update(genotype="|x~0|"), r"designs\.1\.genotype"),
    "genotype of darts": (lambda v: v["designs"][1].update(genotype=DARTS_V1.text), "is no cell of nats"),
    "held out": (lambda v: v["designs"][0].pop("held_out"), r"designs\.0\.held_out"),
    "residual": (lambda v: v["residual"].pop("median"), "residual"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_is_refused_in_one_line(name, tmp_path):
    change, says = WRONG[name]
    path = tmp_path / "table.json"
    made_up_table(NATS).save(path)
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=says) as refused:
        CellTable.load(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_table(tmp_path):
    for text in ("", "[]", "{}", '{"format": 1}'):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(UserError, match=r"t\.json"):
            CellTable.load(tmp_path / "t.json")
    with pytest.raises(UserError, match="no such file; correct the name, or make a table"):
        CellTable.load(tmp_path / "none.json")
