"""Pages on narrow screens: what is wide scrolls in a box of its own, and nothing has a width that screens lack."""

import re

import pytest
from made_up_detectors import detector
from made_up_runs import Page, make_run

from compress.report import write_report
from compress.report.style import CSS

NARROWEST = 320
"""Pixels of the smallest screens."""


class Boxes(Page):
    """Notes what stands around every table and drawing."""

    def __init__(self, path):
        self.around, self.loose = [], []
        super().__init__(path)

    def handle_starttag(self, tag, attrs):
        if tag == "table" and not any("wide" in classes for classes in self.around):
            self.loose.append(dict(attrs).get("class"))
        if tag not in self.VOID:
            self.around.append(dict(attrs).get("class") or "")
        super().handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        self.around.pop()
        super().handle_endtag(tag)


@pytest.mark.parametrize("make", [make_run, detector])
def test_every_table_is_in_a_box_that_scrolls(tmp_path, make):
    steps = [{"params": 190_000, "macs": 24_816_844}]
    assert Boxes(write_report(make(tmp_path, steps=steps))).loose == []
    assert re.search(r"\.wide \{ overflow-x: auto; \}", CSS)


def test_tables_with_many_columns_stack_and_say_how_many_there_are(tmp_path):
    page = Page(write_report(make_run(tmp_path, macs={"before": 4_123_456_789, "after": 2_000_000_000})))
    tables = [a for tag, a in page.tags if tag == "table"]
    stacked = {a["class"]: a["style"] for a in tables if "stacked" in a["class"]}
    assert stacked["comparison stacked"] == "--columns:3"
    assert stacked["complexity stacked"].startswith("--columns:5;--digits:")
    assert "repeat(var(--columns), minmax(0, 1fr))" in CSS


def test_no_column_is_wider_than_the_smallest_screen():
    everywhere = re.sub(r"@media \(min-width: \d+px\) \{[^{}]*\{[^{}]*\} \}", "", CSS)
    columns = re.findall(r"minmax\(([^(),]+|min\([^()]*\)), 1fr\)", everywhere)
    assert len(columns) > 5
    for least in columns:
        pixels = re.fullmatch(r"(\d+)px", least)
        assert pixels is None or int(pixels[1]) <= 60, f"{least}: min({least}, 100%) fits"
    assert not [w for w in re.findall(r"[^-]min-width: (\d+)px", everywhere) if int(w) > NARROWEST]


def test_plots_and_texts_take_their_colours_from_the_two_palettes():
    light, dark = (set(re.findall(r"(--[\w]+):", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL))
    assert light == dark
    assert not re.findall(r"#[0-9a-f]{6}", CSS[CSS.index("* { box-sizing") :]), "colours beside the palettes"


def test_a_command_may_break_between_its_words_alone(tmp_path):
    source = write_report(make_run(tmp_path)).read_text()
    assert "<span>--search-from</span>" in source
    assert re.search(r"\.command span \{ display: inline-block; max-width: 100%;", CSS)
