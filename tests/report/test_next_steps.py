"""What a run's page and the terminal say to do next: true of its figures, in commands that the parsers take."""

import json
import re
import shlex
from html import unescape

import pytest
from made_up_detectors import detector
from made_up_runs import Page, make_run

from compress.commands import command_parser
from compress.report import write_report
from compress.report.next_steps import line_of_begun, next_line

SPREAD = {"onnxruntime": {"p10": 0.5, "p90": 0.7}, "pytorch": {"p10": 0.5, "p90": 0.7}}
SLOW = {"onnxruntime": {"p10": 0.9, "p90": 1.2}, "pytorch": {"p10": 0.5, "p90": 0.7}}
NOISY = {"onnxruntime": {"p10": 0.4, "p90": 1.9}, "pytorch": {"p10": 0.5, "p90": 0.7}}
LATENCY = {"kind": "latency_ratio", "value": 0.5}


def record(folder, **changes):
    """Make the run's recipe.json say `changes` as well."""
    file = folder / "recipe.json"
    found = json.loads(file.read_text())
    for section, values in changes.items():
        if section in ("space", "finetune"):
            found["recipe"][section] = values
        else:
            found[section] = values
    file.write_text(json.dumps(found))
    return folder


def commands(page):
    """The words of every command in the section."""
    part = page.source[page.source.index('id="what-to-do-next"') :]
    blocks = re.findall(r'<pre class="command">(.*?)</pre>', part[: part.index("</section>")])
    return [shlex.split(unescape(re.sub("<[^>]+>", "", block))) for block in blocks]


@pytest.mark.parametrize(
    ("changes", "says", "ends"),
    [
        ({"latency_spread": SPREAD}, "faster, and less than 1 point is lost", "--pruning-ratio 0.52 --work-dir"),
        ({"latency_spread": SLOW}, "The network is not faster in ONNX Runtime", "-o"),
        ({"latency_spread": NOISY}, "Other work on this machine hid which network is faster", "model.onnx"),
        (
            {"latency_spread": SLOW, "budget": LATENCY},
            "Ask for less time",
            "--latency-ratio 0.4 --latency-table t.json",
        ),
        ({"top1": {"before": 97.0, "after": 94.5}}, "2.50 points of accuracy are lost", "finetune.epochs=60"),
        ({"seconds": {"load": 1.0, "slice": 1.0}}, "not been trained since. Fine-tune it", "sliced.safetensors"),
        ({"budget": {"kind": "free", "value": None}}, "smaller budget", "--macs-ratio 0.47"),
        ({"budget": {**LATENCY, "also": [{"kind": "macs_ratio", "value": 0.5}]}}, "smaller", "--macs-ratio 0.4"),
    ],
)
def test_the_first_step_is_what_the_figures_ask_for(tmp_path, changes, says, ends):
    run = record(make_run(tmp_path / "run", **changes), finetune={"epochs": 30, "distill": {"weight": 1.0}})
    record(run, latency_table={"path": "t.json", "sha256": "0f", "forced": False})
    line, page = next_line(run), Page(write_report(run))
    assert says in line
    assert f" {ends}" in line or f"{ends}" in line.split()[-1] or f"/{ends} " in line
    assert says in page.visible()
    assert line.endswith(shlex.join(commands(page)[0])), "the page begins with what the terminal says"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "pytorch"])
def test_what_is_timed_again_is_timed_as_the_run_did(tmp_path, backend):
    """A table of one thread would be refused by a run that measures with two."""
    run = make_run(tmp_path)
    file, summary = run / "recipe.json", json.loads((run / "summary.json").read_text())
    found = json.loads(file.read_text())
    found["recipe"]["measure"] = {"threads": 2, "batch": 4, "backends": [backend]}
    file.write_text(json.dumps(found))
    summary |= {name: {backend: summary[name]["pytorch"]} for name in ("latency_ms", "latency_ratio")}
    for spread, name in ((SLOW, "profile"), (NOISY, "benchmark")):
        summary["latency_spread"] = {backend: spread["onnxruntime"]}
        (run / "summary.json").write_text(json.dumps(summary))
        words = shlex.split(next_line(run).partition("nncompress ")[2])
        assert words[0] == name
        args = command_parser(name).parse_args(words[1:])
        assert (args.threads, args.batch) == (2, 4)
        own = None if backend == "onnxruntime" or (name, backend) == ("benchmark", "pytorch") else backend
        assert args.backend == own


def test_a_network_that_was_not_timed_is_not_said_to_be_faster(tmp_path):
    run = make_run(tmp_path)
    summary = json.loads((run / "summary.json").read_text()) | {"latency_ms": {}, "latency_ratio": {}}
    (run / "summary.json").write_text(json.dumps(summary))
    assert next_line(run).startswith("Less than 1 point is lost: ")


def test_an_onnx_file_that_computes_something_else_is_not_deployed(tmp_path):
    run = make_run(tmp_path)
    (run / "parity.json").write_text((run / "parity.json").read_text().replace("3e-07", "0.2"))
    assert next_line(run).startswith("Do not deploy the ONNX file: ")


@pytest.mark.parametrize(
    ("make", "space", "code"),
    [
        (make_run, {"type": "preresnet"}, None),
        (make_run, {"model": "my net.py:make"}, "space.model=my net.py:make"),
        (detector, {"config": "my det.py"}, "space.config=my det.py"),
    ],
)
def test_the_commands_are_taken_by_their_parsers_and_quote_the_runs_own_paths(tmp_path, monkeypatch, make, space, code):
    monkeypatch.chdir(tmp_path)
    run = record(make(tmp_path / "it's <my> run"), space=space)
    write_report(run.name)
    found = commands(Page(run / "report.html"))
    parsed = {}
    for words in found:
        assert any(word == run.name or word.startswith(f"{run.name}/") for word in words)
        if words[0] == "nncompress":
            parsed[words[1]] = command_parser(words[1]).parse_args(words[2:])
    assert {"prune", "evaluate", "export"} <= set(parsed)
    assert [parsed[name].cfg_options for name in ("prune", "evaluate")] == [[code] if code else []] * 2
    assert parsed["export"].network == space.get("model")
    assert any("ort-int8" in words for words in found)


def test_a_run_in_rounds_goes_on_from_the_search_of_its_first_round(tmp_path):
    run = record(make_run(tmp_path / "run"), steps=3)
    words = shlex.split(next_line(run).partition("nncompress")[2])
    assert words[words.index("--search-from") + 1] == str(run / "step1")
    assert words[words.index("--steps") + 1] == "3"


def test_a_run_that_has_been_begun_says_what_is_left(tmp_path):
    run = record(make_run(tmp_path / "my run", without=("latency.json",)), space={"model": "net.py:make"})
    line = line_of_begun(run, ["measure", "report"])
    assert line.startswith("measure, report are left: nncompress prune ")
    words = shlex.split(line.partition("nncompress prune ")[2])
    args = command_parser("prune").parse_args(words)
    assert (args.recipe, args.work_dir, args.resume) == (str(run / "recipe.json"), str(run), True)
    assert args.cfg_options == ["space.model=net.py:make"]


def test_a_run_without_its_recipe_names_the_place_where_it_belongs(tmp_path):
    assert "nncompress prune RECIPE --search-from" in next_line(make_run(tmp_path, without=("recipe.json",)))
