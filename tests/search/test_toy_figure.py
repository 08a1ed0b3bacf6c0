"""The figure of the solvable model is drawn, and its table agrees with the closed form."""

from compress.search.toy_figure import draw_toy_model, toy_rows


def test_figure_and_table(tmp_path):
    paths = draw_toy_model(tmp_path / "toy", steps=60, eta=0.05)
    assert [path.suffix for path in paths] == [".png", ".svg"]
    assert paths[0].read_bytes()[1:4] == b"PNG"
    assert "</svg>" in paths[1].read_text()
    assert not list(tmp_path.glob(".*"))
    rows = dict(toy_rows(steps=500, eta=0.04))
    alpha, closed = rows["RARTS, lambda = beta = 10"][1:3]
    assert (alpha, closed) == ("1.0811", "(1.0270, 1.0811)")
    assert rows["DARTS, first order"][3] == "1.4142"
