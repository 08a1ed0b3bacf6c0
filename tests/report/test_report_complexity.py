"""Complexity by formula and counted, and the share kept in each block of a transformer."""

import json
import re

import pytest
from made_up_runs import Page, make_complexity, make_run, operator

from compress.report import write_report

OPERATORS = [
    operator("patch_embed.proj", "conv", "layers", (1_164, 1_164), (294_912, 294_912)),
    operator("layers.0.blocks.0.norm1", "norm", "norms", (24, 24), (0, 0)),
    operator("layers.0.blocks.0.attn.qkv", "linear", "attention_projections", (468, 234), (110_592, 55_296)),
    operator("layers.0.blocks.0.attn.products", "attention", "attention_products", (0, 0), (98_304, 49_152)),
    operator("layers.0.blocks.0.attn.proj", "linear", "attention_projections", (156, 84), (36_864, 18_432)),
    operator("layers.0.blocks.0.mlp.fc1", "linear", "mlp", (624, 156), (147_456, 36_864)),
    operator("head.fc", "linear", "classifier", (130, 130), (120, 120)),
    operator("layers.0.blocks.0.attn.relative_position_bias_table", "parameter", "parameters", (49, 49), (0, 0)),
]


def transformer(folder, *, blocks=(2, 2), stream=(), operators=OPERATORS):
    """A run whose plan has `blocks` blocks per stage; head dimension 8, four MLP units to each."""
    run = make_run(folder, without=("scores.safetensors",))
    groups, kinds, i = {}, {}, 0
    for stage, depth in enumerate(blocks):
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            i += 1
            for part in stream or ("attn",):
                groups[f"{name}.{part}"] = {"size": 8, "kept": list(range(min(i, 8)))}
                kinds[f"{name}.{part}"] = "stream" if stream else "attention"
            groups[f"{name}.mlp"] = {"size": 32, "kept": list(range(32 - i))}
            kinds[f"{name}.mlp"] = "mlp"
    plan = json.loads((run / "plan.json").read_text()) | {"groups": groups, "kinds": kinds}
    (run / "plan.json").write_text(json.dumps(plan))
    (run / "complexity.json").write_text(json.dumps(make_complexity(operators)))
    return run


def test_tables_hold_the_sums_of_each_part_by_formula_and_counted(tmp_path):
    operators = json.loads(json.dumps(OPERATORS))
    operators[2]["macs"]["after"]["counted"] = 55_297  # to tell the two columns apart
    page = Page(write_report(transformer(tmp_path, operators=operators)))
    projections = page.cells["macs:attention_projections"]
    assert projections[0].startswith("Attention: projections")
    assert projections[1:] == ["147,456", "147,456", "73,728", "73,729", "0.500"]
    assert page.cells["macs:attention_products"][1:] == ["98,304", "98,304", "49,152", "49,152", "0.500"]
    assert page.cells["params:attention_projections"][1:] == ["624", "624", "318", "318", "0.510"]
    assert page.cells["macs:mlp"][5] == page.cells["params:mlp"][5] == "0.250"
    assert page.cells["macs:layers"][0].startswith("Patch embedding, merging, other layers")
    assert page.cells["macs:total"] == ["total", "688,248", "688,248", "454,776", "454,777", "0.661"]
    assert page.cells["params:total"][1:] == ["2,615", "2,615", "1,841", "1,841", "0.704"]
    assert "4·p·n·d² MACs on projections" in page.visible()
    assert "one image of 3 \u00d7 32 \u00d7 32" in page.visible()


def test_every_operator_is_in_the_folded_tables_of_the_costs_it_has(tmp_path):
    page = Page(write_report(transformer(tmp_path)))
    for cost in ("macs", "params"):
        expected = [row["name"] for row in OPERATORS if row[cost]["before"]["formula"]]
        assert [key.partition("/")[2] for key in page.cells if key and key.startswith(f"{cost}/")] == expected
        assert f"of all {len(expected)} operators" in page.visible()
    assert page.cells["macs/layers.0.blocks.0.mlp.fc1"][1:] == ["147,456", "147,456", "36,864", "36,864", "0.250"]
    opened = [tag for tag, attributes in page.tags if tag == "details" and "open" in attributes]
    assert opened == []
    assert page.unbalanced == []


def test_a_part_that_only_one_network_has_is_shown(tmp_path):
    gone = operator("layers.1.conv", "conv", "layers", (90, 0), (900, 0))
    left = operator("layers.1", "shift", "parameters", (0, 16), (0, 0))
    page = Page(write_report(transformer(tmp_path, operators=[gone, left])))
    assert page.cells["params:parameters"][1:] == ["0", "0", "16", "16", "\u2013"]
    assert page.cells["macs:layers"][1:] == ["900", "900", "0", "0", "0"]


def test_networks_of_convolutions_have_no_attention_in_their_report(tmp_path):
    page = Page(write_report(make_run(tmp_path)))
    assert page.cells["macs:layers"][0].startswith("Convolutions")
    assert page.cells["macs:classifier"][1:] == ["640", "640", "640", "640", "1.00"]
    assert "ttention" not in page.visible()
    assert "Remaining dimensions per block" not in page.visible()


def columns(page):
    """Group -> share of every column of the figure, in order."""
    return {a["data-share-of"]: float(a["data-share"]) for _, a in page.tags if "data-share-of" in a}


def test_columns_show_the_share_kept_by_depth_attention_and_mlp_apart(tmp_path):
    page = Page(write_report(transformer(tmp_path, blocks=(2, 2))))
    blocks = [f"layers.{stage}.blocks.{block}" for stage in range(2) for block in range(2)]
    expected = {f"{name}.attn": i / 8 for i, name in enumerate(blocks, start=1)}
    expected |= {f"{name}.mlp": (32 - i) / 32 for i, name in enumerate(blocks, start=1)}
    assert columns(page) == pytest.approx(expected, abs=5e-5)
    assert list(columns(page)) == list(expected)
    area = page.source[page.source.index('id="remaining') : page.source.index('id="kept-channels')]
    heights = [float(h) for h in re.findall(r'<rect class="kept" [^>]*height="([\d.]+)"', area)]
    full = float(re.search(r'<rect class="full" [^>]*height="([\d.]+)"', area)[1])
    assert [h / full for h in heights] == pytest.approx(list(expected.values()), abs=1e-3)
    assert "<title>layers.0.blocks.1.attn: 2 of 8 kept, 25.0 %</title>" in area
    assert area.count('<line class="base" x1="50.00%" x2="50.00%"') == 2, "the stages' border in both panels"
    assert "all blocks together, 31.2 %" in area  # 10 of 32 dimensions
    assert "all blocks together, 92.2 %" in area  # 118 of 128 units
    assert area.count("<figure") == 2


def test_a_stream_has_one_panel_for_each_of_its_readers(tmp_path):
    page = Page(write_report(transformer(tmp_path, stream=("attn.qkv", "mlp.fc1"))))
    titles = [f"Stream: features that {reader} reads" for reader in ("qkv", "fc1")]
    assert [page.source.count(f"<figcaption>{title}</figcaption>") for title in titles] == [1, 1]
    assert len(columns(page)) == 3 * 4
    assert "share p of a head" not in page.visible()


def test_deep_networks_have_fewer_labels_than_columns_and_names_are_escaped(tmp_path):
    run = transformer(tmp_path, blocks=(2, 2, 18, 2))
    text = (run / "plan.json").read_text().replace("layers.2.blocks.5.mlp", '<b>&amp;\\"')
    (run / "plan.json").write_text(text)
    page = Page(write_report(run))
    assert len(columns(page)) == 48
    assert '<b>&amp;"' in columns(page)
    area = page.source[page.source.index('id="remaining') : page.source.index('id="kept-channels')]
    assert [int(t) for t in re.findall(r'text-anchor="middle">(\d+)</text>', area)] == 2 * list(range(1, 25, 2))
    assert page.unbalanced == []
