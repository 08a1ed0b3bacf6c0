"""The page of a front and its lines in the terminal, from made-up files."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from made_up_front import asked, made_up, row
from rich.console import Console

from compress.plan import UserError, write_json
from compress.report import front_words as words
from compress.report.front import write_front_report
from compress.report.front_terminal import print_front

DROP = asked("max_drop", 1.0, 94.0, "macs_ratio_0.8")


def page_of(folder: Path, front: dict) -> str:
    write_json(folder / "front.json", front)
    return write_front_report(folder).read_text()


@pytest.mark.parametrize(
    ("front", "says"),
    [
        (made_up(), "3 points of one search: top-1 90.00 % to 94.50 %, unpruned 95.00 %."),
        (
            made_up(DROP),
            "The fastest point with at least 94.00 % top-1 (at most 1 point below the unpruned network): MACs ratio "
            "0.8, 1.25 times faster in ONNX Runtime, at 94.50 %.",
        ),
        (
            made_up(asked("target_accuracy", 90, 90, "macs_ratio_0.2"), timed=False),
            "The point of fewest MACs with at least 90.00 % top-1: MACs ratio 0.2, 5.00 times fewer MACs, at 90.00 %.",
        ),
        (
            made_up(asked("target_accuracy", 94.8, 94.8, None)),
            "No point keeps at least 94.80 % top-1: the best, MACs ratio 0.8, has 94.50 %. Give a larger budget, "
            "longer fine-tuning, or another goal.",
        ),
        (
            made_up(asked("target_accuracy", 96, 96, None)),
            "No point keeps at least 96.00 % top-1: the best, MACs ratio 0.8, has 94.50 %. Nor does the unpruned "
            "network, which has 95.00 %.",
        ),
    ],
)
def test_the_verdict_is_said_on_the_page_and_in_the_terminal(front: dict, says: str, tmp_path: Path) -> None:
    assert words.verdict(front) == says
    assert says in page_of(tmp_path, front)
    out = io.StringIO()
    print_front(front, Console(file=out, width=200))
    assert says in " ".join(out.getvalue().split())


def test_points_lead_to_their_reports_and_show_their_commands(tmp_path: Path) -> None:
    page = page_of(tmp_path, made_up(DROP))
    for value in ("0.8", "0.5", "0.2"):
        assert page.count(f'href="macs_ratio_{value}/report.html"') == 4, "the table and three plots"
        assert f"nncompress prune x --macs-ratio {value} --work-dir &#x27;&lt;b&gt;&#x27;" in page
    marks = dict(re.findall(r'<tr class="(?:\w*)" data-point="(\S+?)">.*?<td class="mark">(.*?)</td>', page))
    assert marks == {
        "macs_ratio_0.8": "picked",
        "macs_ratio_0.5": "beaten by MACs ratio 0.8",
        "macs_ratio_0.2": "on the front",
    }
    assert page.count('class="dot beaten"') == 1, "in the plot of the cost in which it is beaten"
    assert "<script" not in page
    assert page == page_of(tmp_path, made_up(DROP))


def test_a_pick_by_test_images_says_that_they_flatter_it(tmp_path: Path) -> None:
    by_test, by_others = made_up(DROP), made_up(DROP, evaluated_on="holdout")
    assert "picked by the same test images" in page_of(tmp_path, by_test)
    assert "flatters" not in page_of(tmp_path, by_others)
    assert "nncompress evaluate macs_ratio_0.8 --cfg-options data.holdout=0 in this folder" in page_of(
        tmp_path, by_others
    )
    assert words.flattered(made_up()) is None, "nothing was picked"


def test_rivals_stand_beside_the_points(tmp_path: Path) -> None:
    rival = {"rival": "torch-pruning", "name": "macs_ratio_0.5", "note": "floor <8>", **row(0.7, 50, 25, 93.0)}
    write_json(tmp_path / "rivals.json", {"format": 1, "points": [rival]})
    page = page_of(tmp_path, made_up())
    assert page.count('class="dot c2"') == 3
    assert "torch-pruning<small>MACs ratio 0.5</small>" in page
    assert "floor &lt;8&gt;" in page


def test_networks_that_were_not_timed_are_compared_by_macs(tmp_path: Path) -> None:
    page = page_of(tmp_path, made_up(timed=False))
    assert "Measured latency" not in page
    assert page.count('class="plot named"') == 2
    assert "no worse in accuracy and in MACs" in page


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"goal": asked("max_drop", 1, 94, "macs_ratio_0.7")}, "goal.picked = 'macs_ratio_0.7': is no point"),
        ({"backend": "tensorrt"}, "latency of 'tensorrt' is missing"),
        ({"metric": "bbox_mAP"}, "accuracy.bbox_mAP is missing"),
        ({"points": []}, "points"),
        ({"points": [made_up()["points"][0] | {"budget": {"kind": "free", "value": None}}]}, "must have a value"),
        ({"format": 2}, "format"),
    ],
)
def test_damaged_files_are_one_line(change: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        page_of(tmp_path, made_up() | change)


@pytest.mark.parametrize("name", ["javascript:alert(1)", "../other", "/etc", "macs_ratio_0.5/..", "a b"])
def test_a_point_leads_nowhere_but_into_the_folder(name: str, tmp_path: Path) -> None:
    front = json.loads(json.dumps(made_up()))
    front["points"][0]["name"] = name
    with pytest.raises(UserError, match="must be a budget and its value"):
        page_of(tmp_path, front)
