"""Top-1 along the way: that of training batches, and that of images which the network is not trained on."""

import json
import re

import pytest
from made_up_runs import Page, make_run

from compress.report import write_report


def rows_with(keys: dict[str, float]) -> str:
    rows = [{"stage": "finetune", "epoch": epoch, "epochs": 2, "loss": 0.5, **keys} for epoch in (1, 2)]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("keys", "evaluated_on", "title", "legend", "line"),
    [
        ({"train_top1": 91.0}, "test", "Fine-tuning: top-1 of training batches, %", [], False),
        ({"train_top1": 91.0, "top1": 88.0}, "holdout", "Fine-tuning: top-1 accuracy, %", 3, True),
        ({"train_top1": 91.0, "top1": 88.0}, "test", "Fine-tuning: top-1 accuracy, %", 2, False),
    ],
    ids=["no image set aside", "holdout", "a val folder beside test"],
)
def test_curves_say_what_images_they_are_of(tmp_path, keys, evaluated_on, title, legend, line):
    run = make_run(tmp_path, evaluated_on=evaluated_on)
    (run / "metrics.jsonl").write_text(rows_with(keys))
    source = Page(write_report(run)).source
    panel = re.search(rf"{re.escape(title)}.*?</figure>", source, re.DOTALL)
    assert panel
    assert ("images not trained on" in panel[0]) == ("top1" in keys)
    assert ("before pruning, 97.78 %" in panel[0]) == line, "the unpruned network's figure on the same images"
    assert panel[0].count('class="swatch') == (legend or 0)
    assert ("test images are looked at when a stage has ended" in source) == (evaluated_on == "test")
