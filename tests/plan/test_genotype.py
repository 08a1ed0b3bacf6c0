"""Genotypes through their strings and files, and what those that are none say."""

import json
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.plan import CELL_SPACES, DARTS, NATS, Genotype, UserError

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
PUBLISHED = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), "
    "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)


@st.composite
def genotypes(draw):
    space = draw(st.sampled_from([*CELL_SPACES.values()]))
    cells = {}
    for cell in space.cells:
        nodes = []
        for number in space.node_numbers:
            kept = number if space.kept is None else space.kept
            sources = sorted(draw(st.permutations(range(number)))[:kept])
            nodes.append(tuple((draw(st.sampled_from(space.choices)), source) for source in sources))
        cells[cell] = tuple(nodes)
    return Genotype(space.name, cells)


@given(genotypes())
def test_a_genotype_survives_its_string_its_json_and_its_file(tmp_path_factory, genotype):
    file = tmp_path_factory.mktemp("genotype") / "genotype.json"
    genotype.save(file)
    copies = [Genotype.parse(genotype.text), Genotype.from_json(genotype.to_json()), Genotype.load(file)]
    assert copies == [genotype] * 3
    assert {*copies} == {genotype}
    assert isclose(sum(map(genotype.share, genotype.cell_space.operations)), 1)
    assert len(list(genotype.edges)) == (16 if genotype.space == "darts" else 6)


def test_the_spaces_have_the_edges_and_scores_that_were_published():
    assert DARTS.edges[:4] == ((0, 2), (1, 2), (0, 3), (1, 3))
    assert len(DARTS.edges) * len(DARTS.operations) * len(DARTS.cells) == 224
    assert NATS.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert len(NATS.operations) ** len(NATS.edges) == 15_625
    assert "none" in NATS.choices
    assert "none" not in DARTS.choices


def test_the_strings_of_nats_bench_and_darts_are_read_and_written():
    cell = Genotype.parse(CELL)
    assert cell.text == CELL
    assert cell.share("none") == pytest.approx(1 / 3)
    assert cell.cells["cell"][1] == (("none", 0), ("nor_conv_1x1", 1))
    found = Genotype.parse(PUBLISHED)
    assert found.cells["normal"][2] == (("skip_connect", 0), ("sep_conv_3x3", 1)), "sources ascend"
    assert found.share("skip_connect") == 5 / 16
    assert found.text.startswith("Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ")
    assert found.text.endswith("('max_pool_3x3', 1), ('skip_connect', 2)], reduce_concat=range(2, 6))")


def darts(old, new):
    assert old in PUBLISHED
    return PUBLISHED.replace(old, new, 1)


WRONG = [
    ("", "must have the form"),
    ("sep_conv_3x3", "must have the form"),
    (CELL.replace("nor_conv_1x1", "conv_7x7"), "node 2: operation 'conv_7x7' must be one of none, skip_connect"),
    (CELL + "+|none~0|none~1|none~2|none~3|", "cell must have 3 nodes, not 4"),
    (CELL.replace("none~1|avg", "avg"), "cell, node 3: must have 3 edges, not 2"),
    (CELL.replace("none~1", "none~4"), "cell, node 3: source 4 must be from 0 to 2"),
    (CELL.replace("none~1", "none~0"), r"cell, node 3: sources \[0, 0, 2\] must be ascending, without repeats"),
    (CELL.replace("none~1", "none1"), r"must have the form \|nor_conv_3x3~0\|"),
    (CELL.removesuffix("|"), r"must have the form \|nor_conv_3x3~0\|"),
    (CELL.split("+")[0], "cell must have 3 nodes, not 1"),
    (darts("('sep_conv_3x3', 0), ", ""), "normal must have 8 edges, 2 a node, not 7"),
    (darts("sep_conv_3x3", "sep_conv_7x7"), "normal, node 2: operation 'sep_conv_7x7' must be one of max_pool_3x3"),
    (darts("sep_conv_3x3", "none"), "normal, node 2: operation 'none' must be one of max_pool_3x3"),
    (darts("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"), "normal, node 5: source 5 must be from 0 to 4"),
    (darts("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)"), r"normal, node 5: sources \[0, 0\] must be ascending"),
    (darts("('dil_conv_3x3', 2)", "exit()"), r"normal: .* must be pairs \('sep_conv_3x3', 0\)"),
    (darts("[2, 3, 4, 5]", "[2, 3, 4]"), r"normal: concatenation '\[2,3,4\]' must be range\(2, 6\)"),
    (darts("normal_concat", "n"), "must have the form"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_string_that_is_no_genotype_is_refused_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as refusal:
        Genotype.parse(text)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


def damage(**changes):
    return {**Genotype.parse(CELL).to_json(), **changes}


FILES = [
    ([], "format is missing"),
    (damage(format=2), "this version reads format 1"),
    (damage(space="nasnet"), "space 'nasnet' must be one of darts, nats"),
    (damage(space="darts"), "cells of darts must be normal, reduction, not 'cell'"),
    (damage(cells={}), "cells of nats must be cell, not none"),
    (damage(cells={"cell": [[["none", 0]]]}), "cell must have 3 nodes, not 1"),
    (damage(cells={"cell": [["none", 0]]}), "must be a valid array"),
    (damage(cells={"cell": [[["none", "0"]]]}), "must be a valid integer"),
]


@pytest.mark.parametrize(("value", "message"), FILES, ids=[message for _, message in FILES])
def test_a_file_that_is_no_genotype_is_refused_in_one_line(value, message, tmp_path):
    file = tmp_path / "genotype.json"
    file.write_text(json.dumps(value))
    with pytest.raises(UserError, match=message) as refusal:
        Genotype.load(file)
    assert str(refusal.value).startswith(str(file))
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match=message):
        Genotype.from_json(value)


def test_a_source_is_a_text_with_blanks_around_it_a_folder_or_a_file(tmp_path):
    genotype = Genotype.parse(CELL)
    genotype.save(tmp_path / "genotype.json")
    for source in (f"\n  {CELL}\n", str(tmp_path), str(tmp_path / "genotype.json")):
        assert Genotype.named(source) == genotype
    with pytest.raises(UserError, match="cannot be read") as refusal:
        Genotype.named(f"DARTS = {PUBLISHED}")
    assert "\n" not in str(refusal.value)


def test_a_genotype_of_another_space_and_an_unknown_operation_are_refused():
    with pytest.raises(UserError, match="must be one of darts, and is one of nats"):
        Genotype.parse(CELL).check_space("darts")
    Genotype.parse(CELL).check_space("nats")
    with pytest.raises(UserError, match="operation = 'sep_conv_3x3': must be one of none, skip_connect"):
        Genotype.parse(CELL).share("sep_conv_3x3")
