"""The drawing of a genotype: every edge once, from its source's line to its node, and nothing on top of another."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from compress.plan import Genotype
from compress.report.genotype import COLOURS, draw_genotype, drawn_png

NATS = Genotype.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
PAIRS = "('sep_conv_3x3', 0), ('dil_conv_5x5', 1), ('max_pool_3x3', 0), ('avg_pool_3x3', 2), "
LIST = f"[{PAIRS}('skip_connect', 1), ('sep_conv_5x5', 3), ('skip_connect', 0), ('skip_connect', 4)]"
DARTS = Genotype.parse(f"Genotype(normal={LIST}, normal_concat=range(2, 6), reduce={LIST}, reduce_concat=range(2, 6))")
both = pytest.mark.parametrize("genotype", [DARTS, NATS], ids=["darts", "nats"])
SVG = "{http://www.w3.org/2000/svg}"


def cells(genotype):
    return ElementTree.fromstring(draw_genotype(genotype)).findall(f"{SVG}g")


def of_class(cell, tag, name):
    return [mark for mark in cell.iter(f"{SVG}{tag}") if name in mark.get("class", "").split()]


@both
def test_every_edge_is_drawn_from_its_source_to_its_node(genotype):
    space = genotype.cell_space
    pictures = cells(genotype)
    assert len(pictures) == len(space.cells)
    for cell, picture in zip(space.cells, pictures, strict=True):
        nodes = {
            float(mark.get("cy")): n
            for mark, n in zip(of_class(picture, "circle", "node"), space.node_numbers, strict=True)
        }
        states = [mark.get("d") for mark in of_class(picture, "path", "state")]
        rows = {float(re.match(r"M\S+ (\d+)H", d)[1]): i for i, d in enumerate(states)}
        found = []
        for mark in of_class(picture, "path", "branch"):
            top, bottom = (float(y) for y in re.match(r"M\S+ (\d+)V\S+Q\S+ \d+ \S+ (\d+)H", mark.get("d")).groups())
            found.append((nodes[bottom], rows[top], mark.get("class").split()[1]))
        edges = [(node, source, COLOURS[name.split("_")[0]]) for c, node, name, source in genotype.edges if c == cell]
        assert sorted(found) == sorted(edges)
        words = [text.text for text in picture.iter(f"{SVG}text")]
        assert sum(word in ("skip", "none") or "conv" in word or "pool" in word for word in words) == len(edges)


@both
def test_no_label_covers_another_or_a_node_and_all_lie_inside(genotype):
    root = ElementTree.fromstring(draw_genotype(genotype))
    width = float(root.get("width"))
    for picture in root.findall(f"{SVG}g"):
        boxes = []
        for mark in of_class(picture, "rect", "chip"):
            x, y, w, h = (float(mark.get(key)) for key in ("x", "y", "width", "height"))
            boxes.append((x, y, x + w, y + h))
        for mark in of_class(picture, "circle", "node"):
            x, y, r = (float(mark.get(key)) for key in ("cx", "cy", "r"))
            boxes.append((x - r, y - r, x + r, y + r))
        for a, b in combinations(boxes, 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert max(box[2] for box in boxes) < width


def test_a_drawing_needs_nothing_from_outside():
    text = draw_genotype(DARTS)
    assert "skip_connect" in re.search(r'aria-label="([^"]*)"', text)[1]
    assert not re.search(r"href|url\(|<script|@import", text)


def test_a_png_shows_what_the_svg_does_in_twice_the_size():
    import io

    from PIL import Image

    svg = ElementTree.fromstring(draw_genotype(NATS))
    picture = Image.open(io.BytesIO(drawn_png(NATS, zoom=2))).convert("RGB")
    assert picture.size == tuple(round(2 * float(svg.get(side))) for side in ("width", "height"))
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert {(255, 255, 255), (0x24, 0x63, 0xC7), (0x1B, 0x24, 0x30)} <= colours, "paper, a convolution, ink"


def test_the_command_draws_both_and_refuses_other_files(tmp_path, capsys):
    from compress.commands import run_command

    for name in ("cell.svg", "cell.png"):
        run_command("draw", [NATS.text, "-o", str(tmp_path / name)])
        assert (tmp_path / name).stat().st_size > 1000
    assert (tmp_path / "cell.svg").read_text() == draw_genotype(NATS)
    for output, source, says in (
        ("cell.jpg", NATS.text, "must end in .svg or .png"),
        ("x.svg", "none", "no such file"),
    ):
        with pytest.raises(SystemExit) as end:
            run_command("draw", [source, "-o", str(tmp_path / output)])
        error = capsys.readouterr().err
        assert (end.value.code, error.count("\n")) == (2, 1)
        assert says in error
        assert not (tmp_path / output).exists()
