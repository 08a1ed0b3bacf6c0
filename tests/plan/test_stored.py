"""The reader of stored files: what it refuses, in which words, and that it takes everything that is written here."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Annotated, NotRequired

import pytest
from annotated_types import Ge, Le
from typing_extensions import TypedDict

from compress.plan import Rule, UserError, WidthPlan, check_stored, parse_stored, read_json, read_lines, read_stored
from compress.plan.kinds import Name, Text, ascending


def _shape_fault(value):
    return "low must not exceed high" if value["low"] > value["high"] else None


class Range(TypedDict):
    low: Annotated[int, Ge(0), Le(9)]
    high: int
    name: NotRequired[Name]
    widths: NotRequired[Annotated[list[int], Rule(ascending)]]


RangeFile = Annotated[Range, Rule(_shape_fault)]


def refusal(text: str, shape=RangeFile, **options) -> str:
    with pytest.raises(UserError) as caught:
        parse_stored(text.encode(), shape, source="a.json", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"low": 10, "high": 20}', "a.json: low = 10: must be less than or equal to 9; mend it"),
        ('{"low": true, "high": 2}', "a.json: low = True: must be a valid integer; mend it"),
        ('{"low": "1", "high": 2}', "a.json: low = '1': must be a valid integer; mend it"),
        ('{"low": 1}', "a.json: high is missing; mend it"),
        ('{"low": 3, "high": 2}', "a.json: low must not exceed high; mend it"),
        (
            '{"low": 1, "high": 2, "widths": [3, 3]}',
            "a.json: widths = [3, 3]: must be ascending, without repeats; mend it",
        ),
        (
            '{"low": 1, "high": 2, "name": "a\\nb"}',
            "a.json: name = 'a\\nb': must be one line without control characters; mend it",
        ),
        ("[]", "a.json: the whole file = []: must be an object; mend it"),
        ('{"low": 1e999, "high": 2}', "a.json: holds a number that is not finite; mend it"),
        (
            f'{{"low": 1, "high": {10**20}}}',
            "a.json: holds a number that is whole and of more than 64 bits; mend it",
        ),
    ],
)
def test_a_broken_rule_is_one_line_with_file_key_value_rule_and_remedy(text, message):
    assert refusal(text, remedy="mend it") == message


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", '{"low": NaN, "high": 1}', "[" * 100_000, "9" * 5000, '{"a": "\\ud800"}']
)
def test_what_is_no_json_is_refused(text):
    assert refusal(text).startswith("a.json: not valid JSON (")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_named(tmp_path, encoding):
    (tmp_path / "a.json").write_text('{"low": 1, "high": 2}', encoding=encoding)
    for read in (read_json, lambda path: read_stored(path, RangeFile)):
        with pytest.raises(UserError, match=r"a\.json: begins with a byte order mark; save it as UTF-8 without one$"):
            read(tmp_path / "a.json")


def test_numbers_that_a_shape_says_nothing_of_are_checked_too(tmp_path):
    for text in ('{"deep": [{"a": 1e400}]}', f'{{"a": {2**64}}}', '{"a": -1e999}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(UserError, match="holds a number"):
            read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(f'{{"a": [{2**63 - 1}, 1e308, 0.12345678901234567890], "b": "e999"}}')
    assert read_json(tmp_path / "a.json") == {"a": [2**63 - 1, 1e308, 0.12345678901234568], "b": "e999"}


def test_a_newer_format_says_so_before_anything_else():
    newer = refusal('{"format": 3, "low": "other"}', version=1, remedy="mend it")
    assert (
        newer
        == "a.json: format = 3: this version reads format 1; use the version of compress that wrote it, or mend it"
    )
    assert refusal('{"format": true}', version=1).startswith("a.json: format = True: must be 1; ")
    assert refusal("[]", version=1).startswith("a.json: format is missing: must be 1; ")
    assert refusal('{"format": 0}', version=1).startswith("a.json: format = 0: this version reads format 1; restore")


def test_long_values_and_odd_keys_stay_short_and_on_one_line():
    class Any_(TypedDict):
        values: dict[Text, int]

    for key in ("x" * 5000, "a\nb", "\u2028"):
        for value in ("y" * 5000, [[[[[["z" * 500]]]]]] * 500, None):
            message = refusal(json.dumps({"values": {key: value}}), Any_)
            assert len(message) < 400
            assert "\u2028" not in message


def test_unknown_keys_are_left_out_and_known_ones_kept():
    assert parse_stored(b'{"low": 1, "high": 2, "more": 3}', RangeFile, source="a") == {"low": 1, "high": 2}
    assert check_stored({"low": 1, "high": 2}, RangeFile, source="a") == {"low": 1, "high": 2}
    with pytest.raises(UserError, match=r"^made: low = -1: must be greater than or equal to 0; "):
        check_stored({"low": -1, "high": 2}, RangeFile, source="made")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.json: no such file; "):
        read_stored(tmp_path / "a.json", RangeFile)
    (tmp_path / "a.json").mkdir()
    with pytest.raises(UserError, match=r"a\.json: is a folder, not a file; "):
        read_stored(tmp_path / "a.json", RangeFile)
    (tmp_path / "b.json").write_text("[1, 2, 3]")
    with pytest.raises(UserError, match=r"b\.json: 9 bytes, the most is 8; "):
        read_stored(tmp_path / "b.json", RangeFile, most_bytes=8)


def test_lines_are_read_and_one_that_a_kill_cut_is_left_out(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"low": 1, "high": 2}\n\n{"low": 3, "high": 4}\n{"low": 5, "hi')
    assert [row["low"] for row in read_lines(file, RangeFile)] == [1, 3]
    file.write_text('{"low": 1, "high": 2}\n{"low": 3, "hi\n{"low": 5, "high": 6}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl: line 2: not valid JSON"):
        read_lines(file, RangeFile)


def test_every_float_survives_bit_by_bit():
    draw = random.Random(0)
    values = [struct.unpack("d", draw.randbytes(8))[0] for _ in range(2000)]
    values = [value for value in values if value - value == 0] + [round(draw.gauss(0, 1), 6) for _ in range(2000)]
    assert parse_stored(json.dumps(values).encode(), list[float], source="a") == values


def test_a_plan_of_absurd_size_is_refused_at_once(tmp_path):
    plan = {"format": 1, "space": "x", "groups": {"a": {"size": 10**10, "kept": [0]}}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UserError, match=r"plan\.json: groups\.a\.size = 10000000000: must be less than or equal to"):
        WidthPlan.load(tmp_path / "plan.json")
    with pytest.raises(UserError, match="must be ascending, distinct and from 0 to 9999999999"):
        WidthPlan("x", {"a": 10**10}, {"a": (0, 10**10)})
    assert WidthPlan("x", {"a": 10**10}, {"a": (0, 10**10 - 1)}).widths == {"a": 2}
