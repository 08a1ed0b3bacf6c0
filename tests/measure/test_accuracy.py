"""Accuracy of runs and files: equal to what training measured, and refused where model and data are strangers."""

import json

import onnx
import pytest
import torch
from digits_run import RECIPE, digits, trained_run
from run_tool import run_tool

from compress.engine.loaders import eval_loader
from compress.engine.training import evaluate_top1
from compress.measure.accuracy import evaluate_model
from compress.measure.models import open_model
from compress.measure.session import Session
from compress.plan import UserError
from compress.spaces import load_model

HALVED = ["data.input_size=16", "data.resize=16"]


def figures(tmp_path, capsys, source, *arguments):
    """Of the command: what it wrote, and the line it printed."""
    target = tmp_path / "accuracy.json"
    assert run_tool("evaluate", source, *arguments, "--json", target) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(target.read_text()), line


def test_a_run_scores_what_training_measures(tmp_path, capsys):
    loader = eval_loader(digits().test, batch_size=250)
    wanted = evaluate_top1(load_model(trained_run())[0], loader)
    found, line = figures(tmp_path, capsys, trained_run())
    assert (found["top1"], found["loss"]) == (wanted["top1"], pytest.approx(wanted["val_loss"], abs=1e-5))
    assert (found["n_images"], found["evaluated_on"], found["backend"]) == (360, "test", "pytorch")
    accuracy = f"top-1 {found['top1']:.2f} %, top-5 {found['top5']:.2f} %, loss {found['loss']:.4f}"
    assert line == f"{trained_run()} (pytorch): {accuracy} on 360 test images of digits"


def test_an_onnx_file_beside_its_recipe_and_elsewhere(tmp_path, capsys):
    run, _ = figures(tmp_path, capsys, trained_run())
    beside, _ = figures(tmp_path, capsys, trained_run() / "model.onnx", "--batch", 7)
    alone = tmp_path / "alone.onnx"
    alone.write_bytes((trained_run() / "model.onnx").read_bytes())
    elsewhere, _ = figures(tmp_path, capsys, alone, "--recipe", RECIPE, "--cfg-options", *HALVED)
    for found in (beside, elsewhere):
        assert found["backend"] == "onnxruntime"
        assert (found["top1"], found["top5"]) == (run["top1"], run["top5"])
        assert found["loss"] == pytest.approx(run["loss"], abs=1e-5)


def test_overrides_change_the_images(tmp_path, capsys):
    found, line = figures(tmp_path, capsys, trained_run(), "--cfg-options", "data.holdout=0.1", "data.limit=40")
    assert (found["n_images"], found["evaluated_on"]) == (40, "holdout")
    assert line.endswith("on 40 holdout images of digits")


def stand_in(answer, classes=None, **preprocessing):
    """A model that answers with `answer(number of the first image, images)`."""
    seen = []

    def bind(images):
        seen.append(len(images))
        return lambda: answer(sum(seen[:-1]), images)

    described = (classes or digits().classes, digits().preprocessing | preprocessing)
    return Session("m", "stand-in", bind, shape=(3, 16, 16), tells=lambda: described)


def test_figures_of_known_answers():
    """The right class first, fifth or sixth, in turn; all logits but a tenth of the distance apart."""
    labels = torch.from_numpy(digits().test.labels)

    def answer(start, images):
        logits = -0.1 * torch.arange(10.0).repeat(len(images), 1)
        for row in range(len(images)):
            label, rank = int(labels[start + row]), (0, 4, 5)[(start + row) % 3]
            others = [c for c in range(10) if c != label]
            order = [*others[:rank], label, *others[rank:]]
            logits[row, order] = -0.1 * torch.arange(10.0)
        return logits

    found = evaluate_model(stand_in(answer), digits(), batch=100)
    assert (found["top1"], found["top5"]) == (pytest.approx(100 / 3, abs=1e-4), pytest.approx(200 / 3, abs=1e-4))
    partition = torch.logsumexp(-0.1 * torch.arange(10.0), 0).item()
    assert found["loss"] == pytest.approx(partition + 0.1 * (0 + 4 + 5) / 3, abs=1e-5)


def test_strangers_are_refused():
    def answer(start, images):
        return torch.zeros(len(images), 7)

    with pytest.raises(
        UserError, match=r"m: gives \(250, 7\) for 250 images; must give a logit for each of 10 classes"
    ):
        evaluate_model(stand_in(answer), digits())
    with pytest.raises(UserError, match="m: has 2 classes, and digits has 10"):
        evaluate_model(stand_in(answer, ("a", "b")), digits())
    with pytest.raises(UserError, match="m: class 1 is 'x', and '1' in digits"):
        evaluate_model(stand_in(answer, ("0", "x", *"23456789")), digits())
    with pytest.raises(UserError, match=r"m: made for mean = \[0\.5\], and the data have"):
        evaluate_model(stand_in(answer, mean=[0.5]), digits())


@pytest.mark.parametrize(("logit", "loss"), [(float("nan"), "nan"), (float("inf"), "nan"), (-float("inf"), "inf")])
def test_a_loss_that_is_no_number_is_refused(logit, loss):
    def answer(start, images):
        logits = torch.zeros(len(images), 10)
        logits[:, 3] = logit
        return logits

    with pytest.raises(UserError, match=f"m on digits: loss = {loss}; figures must be finite numbers; the network's"):
        evaluate_model(stand_in(answer), digits())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FOLDER/model.onnx", "--recipe", "no.py"], "RECIPE no.py: no such file; `nncompress recipes` lists "
         "those that come with compress"),
        (["OUT/m.onnx"], "OUT/m.onnx: no recipe.json in OUT, which would name its data; give --recipe RECIPE"),
        (["OUT/absent.onnx"], "OUT/absent.onnx: no such file; `nncompress export RUN --to onnx` writes one"),
        (["OUT"], "OUT/model.json: no such file; restore it, or export the model again"),
        (["FOLDER", "--cfg-options", "data.inputsize=8"], "FOLDER/recipe.json: unknown key data.inputsize = 8; did "
         "you mean data.input_size?; or give --recipe RECIPE"),
        (["FOLDER", "--recipe", str(RECIPE)], "FOLDER: made for input_size = [3, 16, 16], and the data have [3, "
         "20, 20]; set the recipe's data section to the network's"),
        (["FOLDER", "--batch", "0"], "--batch: 0 is out of range; give a number from 1 to 65536; --help "
         "lists the arguments"),
        (["FOLDER/model.onnx", "--threads", "0"], "--threads 0: must be a whole number of at least 1 and "
         "at most 256; more than the processor has cores does not help"),
        (["OUT/bare.onnx", "--recipe", str(RECIPE)], "OUT/bare.onnx: its metadata do not tell classes and "
         "preprocessing; export the network with `nncompress export`"),
    ],
)  # fmt: skip
def test_user_errors_are_one_line(arguments, message, tmp_path, capfd):
    def places(text):
        return text.replace("OUT", str(tmp_path)).replace("FOLDER", str(trained_run()))

    proto = onnx.load(trained_run() / "model.onnx")
    onnx.save(proto, tmp_path / "m.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "bare.onnx")
    assert run_tool("evaluate", *map(places, arguments), "--json", tmp_path / "a.json") == 2
    assert capfd.readouterr().err == f"error: {places(message)}\n"
    assert not (tmp_path / "a.json").exists()


def test_a_broken_record_is_told(tmp_path, capfd):
    for file in trained_run().glob("model.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for text, says in (("{}", "recipe"), ("[", "not valid JSON"), ('{"recipe": 3}', "recipe")):
        (tmp_path / "recipe.json").write_text(text)
        assert run_tool("evaluate", tmp_path) == 2
        error = capfd.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert says in error


def test_open_model_and_evaluate_agree_with_the_docs_script():
    """docs/deploy/check_onnx.py knows nothing of this library."""
    import runpy

    import numpy as np

    root = RECIPE.parents[2]
    script = runpy.run_path(str(root / "docs/deploy/check_onnx.py"))
    stored = digits().test.source.read(digits().test.ids)[0]
    images = script["preprocess"](stored.permute(0, 2, 3, 1).numpy(), digits().preprocessing)
    logits = open_model(trained_run() / "model.onnx")(torch.from_numpy(images))
    top1 = 100 * float((logits.argmax(1).numpy() == np.array(digits().test.labels)).mean())
    found = evaluate_model(open_model(trained_run() / "model.onnx"), digits())
    assert found["top1"] == pytest.approx(top1, abs=0.3)  # one image: resized here by another library
