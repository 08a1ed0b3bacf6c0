"""The page and the terminal of a detector's run: AP in place of accuracy, pictures within the page, categories."""

import base64
import io
import json
import re

import pytest
from made_up_detectors import PICTURES, detector, of_section, predictions
from made_up_runs import Page, make_run
from rich.console import Console

from compress.engine.hooks import describe
from compress.plan import UserError
from compress.report import print_summary, write_report
from compress.report.progress import TerminalProgress


def test_ap_stands_where_accuracy_stands_for_classifiers(tmp_path):
    page = Page(write_report(detector(tmp_path)))
    assert page.cells["bbox_mAP"] == ["Box AP (val split)", "43.50 %", "42.75 %", "\u22120.75 points"]
    assert page.cells["train_bbox_mAP"] == ["Box AP (training images)", "61.00 %", "59.00 %", "\u22122.00 points"]
    assert page.cells["segm_mAP"][3] == "+0.25 points"
    assert "train_segm_mAP" not in page.cells
    text = page.visible()
    assert (
        "1.72 times fewer backbone MACs, 1.67 times faster in ONNX Runtime, box AP \u22120.75 points, mask AP" in text
    )
    assert "Box AP \u22120.75 points 43.50 \u2192 42.75 %" in text  # the tile
    assert "AP on the val split" in text
    assert "top-1" not in text.lower()
    assert "accuracy" not in text.replace(tmp_path.name, "").lower()


@pytest.mark.parametrize(("before", "warned"), [(0.99, True), (1.0, False)])
def test_ap_too_low_to_compare_is_warned_of(tmp_path, before, warned):
    page = Page(write_report(detector(tmp_path, bbox_mAP={"before": before, "after": before})))
    text = "too low for its change to say what pruning costs; that on the training images says more."
    assert (text in page.visible()) == warned
    assert "Box AP \u00b10 unchanged" in page.visible()  # the tile


@pytest.mark.parametrize(
    ("counts", "who"),
    [((0, 0), "The unpruned and the pruned network"), ((40, 0), "The pruned network"), ((40, 38), None)],
)
def test_parity_without_a_detection_is_warned_of(tmp_path, counts, who):
    run = detector(tmp_path, parity_detections=dict(zip(("before", "after"), counts, strict=True)))
    text = f"{who} found no object in the images that its ONNX file was compared on, so its parity says nothing"
    assert (text in Page(write_report(run)).visible()) == (who is not None)
    with io.StringIO() as out:
        print_summary(json.loads((run / "summary.json").read_text()), Console(file=out, width=400))
        assert (f"warning: {text}" in out.getvalue()) == (who is not None)


def test_parity_is_of_detections(tmp_path):
    label, before, after, change = Page(write_report(detector(tmp_path))).cells["parity"]
    assert label == "Parity: largest |ONNX \u2212 PyTorch| of a score"
    assert (before, after, change) == ("1.9e\u221206", "1.4e\u221206", "\u2013")
    text = Page(tmp_path / "report.html").visible().replace("\xa0", " ")
    assert text.count("16 images, 1,200 detections, 0 unmatched") == 2
    assert "boxes 1.2e\u221202 pixels, masks 2.1e\u221203" in text


def test_page_says_that_macs_are_the_backbones(tmp_path):
    page = Page(write_report(detector(tmp_path / "a")))
    assert page.cells["macs"][0] == "MACs of the backbone"
    assert page.visible().count("MACs are the backbone's: those of the heads depend on what is in the image") == 2
    assert "backbone" not in Page(write_report(make_run(tmp_path / "b"))).visible()


def test_stages_show_both_ap_and_those_of_training_images(tmp_path):
    run = detector(tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    source = of_section(Page(write_report(run)), "stages")
    cells = dict(re.findall(r'<tr data-stage="(\w+)">.*?</td>(.*?)<td class="time">', source))
    assert cells["load"].startswith("<td>43.50 %<small>training 61.00 %</small></td><td>38.25 %</td>")
    assert cells["search"].startswith("<td>41.00 %<small>training 60.00 %</small></td><td>36.00 %</td>")
    assert cells["slice"].startswith("<td>20.50 %<small>training 30.00 %</small></td><td>17.50 %</td>")
    assert cells["finetune"].startswith("<td>42.75 %<small>training 59.00 %</small></td><td>38.50 %</td>")
    assert cells["select"].startswith("<td></td><td></td><td>")
    assert cells.keys() == summary["seconds"].keys()
    assert "box AP after" in source
    assert "mask AP after" in source


def test_curves_of_ap_per_epoch_and_of_the_parts_of_the_loss(tmp_path):
    source = of_section(Page(write_report(detector(tmp_path))), "training-curves")
    labels = re.findall(r'aria-label="([^"]*)"', source)
    assert labels == [
        "Search: loss, over 3 epochs; at the end: primary half, L_p 2, auxiliary half, L_a 2.5",
        "Search: mean |score|, over 3 epochs; at the end: value 0.9",
        "Search: box AP, %, over 3 epochs; at the end: validation images 33, training images 50",
        "Fine-tuning: loss, over 3 epochs; at the end: total 1.333, region proposals 0.75, classes 1.5, boxes 0.75, "
        "masks 0.375",
        "Fine-tuning: box AP, %, over 3 epochs; at the end: validation images 43",
    ]
    assert "AP on 16 validation and 16 training images, evenly chosen" in source
    assert "dashed" not in source  # AP before pruning is of all images


def test_pictures_are_in_the_page_itself_side_by_side(tmp_path):
    page = Page(write_report(detector(tmp_path)))
    shown = [a for tag, a in page.tags if tag == "img"]
    contents = [base64.b64decode(a["src"].removeprefix("data:image/jpeg;base64,")) for a in shown]
    assert contents == list(PICTURES.values())
    assert [a["alt"] for a in shown][:2] == [
        "a<1>.jpg before: 3 detections, 2 correct",
        "a<1>.jpg after: 2 detections, 1 correct",
    ]
    text = page.visible()
    assert "a<1>.jpg \u00b7 4 annotated objects \u00b7 1 detection coincides before" in text
    assert "b<1>.jpg \u00b7 training image \u00b7 4 annotated objects before" in text
    assert "b_after.jpg is no longer in this run folder" in text
    assert "score above 0.3 on 1 image of the val split and 1 training image, evenly chosen" in text
    without_pictures = re.sub(r'src="data:[^"]*"', "", page.source)
    assert not re.search(r"https?:|//\w|url\(|@import|src=|href=", without_pictures)
    assert page.unbalanced == page.open == []


def test_categories_are_folded_away_under_a_line_about_them(tmp_path):
    page = Page(write_report(detector(tmp_path)))
    source = of_section(page, "ap-of-every-category")
    assert "<details><summary>AP of all 4 categories on 5,000 images</summary>" in source
    rows = re.findall(r'<tr data-category="([^"]*)">(.*?)</tr>', source)
    assert [name for name, _ in rows] == ["sheep &amp; &lt;lamb&gt;", "cat", "dog", "zebra"]
    cells = [re.sub(r"<[^>]*>", "|", row).strip("|").replace("||", "|").split("|") for _, row in rows]
    assert cells[0][1:] == ["1", "20.00", "10.00", "", "\u221210.00", "", "9.00", "9.00", "0.00"]
    assert cells[1][1:] == ["1,234", "50.00", "50.00", "0.00", "40.00", "41.50", "", "+1.50"]
    assert cells[3][1:] == ["0"] + ["\u2013"] * 6
    text = page.visible()
    assert "Box AP rose in 1 of 3 categories with objects, fell in 1 and stayed in 1." in text
    assert "Most lost: sheep & <lamb> \u221210.00 points. Most gained: dog +2.50 points." in text


def test_boxes_alone_make_a_table_without_masks(tmp_path):
    run = detector(tmp_path)
    content = json.loads((run / "categories.json").read_text())
    for row in content["categories"]:
        del row["segm_mAP"]
    (run / "categories.json").write_text(json.dumps(content))
    source = of_section(Page(write_report(run)), "ap-of-every-category")
    assert "Box AP, %" in source
    assert "Mask" not in source


def test_share_of_remaining_dimensions_is_drawn_for_blocks_of_mmdetection(tmp_path):
    page = Page(write_report(detector(tmp_path)))
    columns = {a["data-share-of"]: a["data-share"] for _, a in page.tags if "data-share-of" in a}
    assert len(columns) == 6
    assert columns["backbone.stages.1.blocks.1.attn.w_msa"] == columns["backbone.stages.1.blocks.1.ffn"] == "0.2500"
    source = of_section(page, "remaining-dimensions-per-block")
    assert [source.count(title) for title in ("Attention: dimensions of a head", "MLP: hidden units")] == [2, 2]
    assert len(re.findall(r'<line class="base" x1="33.33%"', source)) == 2  # between the stages


def test_parameters_of_neck_and_heads_are_a_part_of_their_own(tmp_path):
    page = Page(write_report(detector(tmp_path)))
    assert page.cells["params:heads"][0].startswith("Neck and heads")
    assert page.cells["params:heads"][1] == "100"
    assert page.cells["params:parameters"][1] == "7"
    assert "macs:heads" not in page.cells


@pytest.mark.parametrize("name", ["predictions.json", "categories.json"])
def test_missing_file_is_named_for_detectors_only(tmp_path, name):
    sentence = f"{name} is not in this run folder; the report stage writes it."
    assert sentence in Page(write_report(detector(tmp_path / "a", without=(name,)))).visible()
    assert name not in Page(write_report(make_run(tmp_path / "b"))).visible()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "predictions.json",
            '{"format": 1, "threshold": 0.3, "iou": 0.5, "images": [{"image": "a.jpg"}]}',
            "images.0.objects is missing; run the report",
        ),
        ("categories.json", '{"format": 1, "images": 1, "categories": {}}', "categories = {}: must be a valid array"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    run = detector(tmp_path)
    (run / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        write_report(run)
    assert name in str(caught.value)


def test_terminal_prints_ap(tmp_path):
    summary = json.loads((detector(tmp_path) / "summary.json").read_text())
    console = Console(width=200, record=True, quiet=False, file=(tmp_path / "out").open("w"), color_system=None)
    print_summary(summary, console)
    text = console.export_text()
    assert re.search(r"MACs of the backbone +31,021,056", text)
    assert re.search(r"Box AP \(val split\) +43.50 % +42.75 % +\u22120.75 points", text)
    assert re.search(r"Mask AP \(val split\) +38.25 % +38.50 % +\+0.25 points", text)
    assert "AP on the val split; latency" in text
    assert "box AP \u22120.75 points, mask AP +0.25 points" in text


def test_progress_tells_ap_of_epochs_and_stages(capsys):
    progress = TerminalProgress()
    progress.announce("finetune")
    progress.done("finetune", {"bbox_mAP": 42.754, "segm_mAP": 38.5, "train_bbox_mAP": 60.0})
    assert capsys.readouterr().out.endswith(" s  box AP 42.75 %  mask AP 38.50 %\n")
    row = {"epoch": 3, "epochs": 8, "loss": 1.5, "bbox_mAP": 12.5, "train_bbox_mAP": 40.125}
    assert describe(row) == "epoch 3/8  loss 1.500  box AP 12.50  in training images 40.12"
    row = {"epoch": 1, "epochs": 2, "loss": 0.25, "train_top1": 91.125, "top1": 90.0}
    assert describe(row) == "epoch 1/2  loss 0.250  top-1 in training 91.12  top-1 90.00"
    assert describe({"epoch": 1, "epochs": 2, "loss_p": 2.0, "zeros": 4}) == "epoch 1/2  loss 2.000  zeros 4"


@pytest.mark.parametrize("name", ["../secret.jpg", "ABSOLUTE", "predictions/link.jpg"])
def test_pictures_from_elsewhere_are_refused(tmp_path, name):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    run = detector(tmp_path / "run")
    (run / "predictions/link.jpg").symlink_to(secret)
    changed = predictions()
    changed["images"][0]["after"]["file"] = str(secret) if name == "ABSOLUTE" else name
    (run / "predictions.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match=r"predictions\.json: .* must be a path inside"):
        write_report(run)
    assert not (run / "report.html").exists()


def test_files_that_are_links_out_of_the_folder_are_refused(tmp_path):
    run = detector(tmp_path / "run")
    for name in ("recipe.json", "summary.json", "metrics.jsonl"):
        outside = tmp_path / name
        outside.write_bytes((run / name).read_bytes())
        (run / name).unlink()
        (run / name).symlink_to(outside)
        with pytest.raises(UserError, match=rf"{name}: '{name}' must be a path inside"):
            write_report(run)
        (run / name).unlink()
        (run / name).write_bytes(outside.read_bytes())
    write_report(run)
