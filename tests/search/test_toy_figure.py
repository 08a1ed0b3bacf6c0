"""The figure of the solvable model is drawn, and its table agrees with the closed form."""

import io

from rich.console import Console

from compress.search.toy_figure import draw_toy_model, toy_table


def test_figure_and_table(tmp_path):
    paths = draw_toy_model(tmp_path / "toy", steps=60, eta=0.05)
    assert [path.suffix for path in paths] == [".png", ".svg"]
    assert paths[0].read_bytes()[1:4] == b"PNG"
    assert "</svg>" in paths[1].read_text()
    assert not list(tmp_path.glob(".*"))
    console = Console(file=io.StringIO(), width=200)
    console.print(toy_table(steps=500, eta=0.04))
    lines = console.file.getvalue().splitlines()
    row = next(line for line in lines if "beta = 10" in line and "fused" not in line)
    assert "1.0270" in row
    assert "(1.0270, 1.0811)" in row
    assert any("DARTS, first order" in line and "1.4142" in line for line in lines)
