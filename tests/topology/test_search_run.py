"""Topology searches as runs: what they leave, killed and resumed, in two processes, with wrong input."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
from pathlib import Path

import pytest
import torch

from compress.plan import Genotype, UserError, load_scores, save_scores
from compress.topology import load_bench
from compress.topology.report import write_topology_report

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/topology/nats_digits_rarts.py"


def rows(folder):
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_what_a_search_leaves(found, table):
    folder, printed = found
    genotype = Genotype.load(folder / "genotype.json")
    assert genotype.text in printed
    summary = json.loads((folder / "summary.json").read_text())
    bench = load_bench(table, "cifar10")
    assert summary["genotype"] == genotype.text
    assert (summary["true_top1"], summary["true_rank"]) == (bench.accuracy(genotype), bench.rank(genotype))
    last = rows(folder)[-1]
    assert last["epoch"] == 3
    assert (last["true_top1"], last["skip_share"]) == (summary["true_top1"], summary["skip_share"])
    scores = load_scores(folder / "scores.safetensors")
    assert list(scores) == [f"cell.{i}" for i in range(6)]
    assert all(abs(float(score.sum()) - 1) < 1e-5 for score in scores.values())
    page = (folder / "report.html").read_text()
    assert genotype.text in page
    assert f"rank {summary['true_rank']:,}" in page


def test_the_network_of_the_summary_has_its_costs(found):
    from compress.costs import count_params
    from compress.spaces import make_space

    summary = json.loads((found[0] / "summary.json").read_text())
    target = {key: value for key, value in summary["target"].items() if key != "type"}
    space = make_space("nats_cells", {"num_classes": 10, **target, "genotype": summary["genotype"]})
    assert count_params(space.build()) == summary["params"]


def damaged_summary(**changes):
    def change(folder):
        path = folder / "summary.json"
        value = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: each for key, each in value.items() if each != "gone"}))

    return change


def other_scores(folder):
    save_scores(folder / "scores.safetensors", {f"cell.{i}": torch.ones(5) for i in range(5)})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (damaged_summary(target=None), "summary.json: target = None: must be"),
        (damaged_summary(genotype="x"), "summary.json: genotype = 'x': genotype: 'x' must have the form"),
        (damaged_summary(true_rank="gone"), "summary.json: true_top1 and true_rank belong together"),
        (other_scores, "scores.safetensors: scores of another network or space; 1 groups differ: cell.5"),
    ],
    ids=["target", "genotype", "rank", "scores"],
)
def test_a_page_of_damaged_files_is_one_line(found, change, says, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(found[0], folder)
    change(folder)
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        write_topology_report(folder)
    assert "\n" not in str(caught.value)


def test_what_earlier_stages_recorded_is_checked_before_a_summary_is_written(tool, found, options, table, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(found[0], folder)
    stages = json.loads((folder / "stages.json").read_text())
    del stages["report"], stages["search"]["info"]
    (folder / "stages.json").write_text(json.dumps(stages))
    known = options(bench__file=table, bench__dataset="cifar10")
    before = (folder / "summary.json").read_bytes()
    result = tool("search_topology", RECIPE, *known, "--work-dir", folder, "--resume")
    (line,) = result.stderr.splitlines()
    assert result.code == 2
    assert line.startswith(f"error: {folder / 'stages.json'}: search.type")
    assert (folder / "summary.json").read_bytes() == before


def test_killed_and_resumed_it_finds_the_same_cell(tool, options, found, table, tmp_path):
    whole, folder = found[0], tmp_path / "run"
    known = options(bench__file=table, bench__dataset="cifar10")
    running = tool.start("search_topology", RECIPE, *known, "--work-dir", folder)
    running.wait_until(lambda: len(rows(folder)) == 2)
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    assert not (folder / "genotype.json").exists()
    result = tool("search_topology", RECIPE, *known, "--work-dir", folder, "--resume")
    assert (result.code, result.stderr) == (0, "")
    for name in ("genotype.json", "scores.safetensors", "recipe.json"):
        assert (whole / name).read_bytes() == (folder / name).read_bytes(), name
    ours, theirs = ([{**row, "seconds": 0} for row in rows(run)] for run in (folder, whole))
    assert ours == theirs


def test_two_processes_share_one_search(tool, options, tmp_path):
    folder = tmp_path / "run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    arguments = [RECIPE, *options(search__epochs=1), "--work-dir", folder, "--launcher", "pytorch"]
    started = [tool.start("search_topology", *arguments, **common, RANK=r, LOCAL_RANK=r) for r in "01"]
    first, second = [process.wait() for process in started]
    assert (first.code, first.stderr) == (0, "")
    assert (second.code, second.stderr, second.stdout) == (0, "", "")
    assert first.stdout.count("done in") == 3
    assert len(rows(folder)) == 1
    assert Genotype.load(folder / "genotype.json").text in first.stdout


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space.channels": 5, "space.partial": 2}, ("space.partial = 2", "must divide space.channels = 5")),
        ({"search.method.type": "taylor"}, ("search.method.type = 'taylor'", "'rarts'", "'random'")),
        ({"search.method.order": "x"}, ("search.method.order",)),
        ({"search.batch_size": 40}, ("search.batch_size = 40", "more than the 30 training images of each half")),
        (
            {"search.batch_size": 1, "data.input_size": 4, "data.resize": 4},
            ("recipe: search.batch_size = 1: one image at a time", "; take 2, or take larger images"),
        ),
        ({"target.genotype": "x"}, ("target.genotype", "leave it away")),
        ({"target.in_channels": 1}, ("recipe: target: space.in_channels = 1: must be 3, as the data have",)),
        ({"space.num_classes": 7}, ("recipe: space.num_classes = 7: must be 10, as the data have; leave it away",)),
        ({"target.width": 3}, ("target.width", "has no such setting")),
        ({"bench.file": "no.csv", "bench.dataset": "cifar10"}, ("bench.file", "no.csv: no such table")),
        ({"space.relaxation": "hard"}, ("space.relaxation", "'softmax'", "'sigmoid'")),
        ({"search.fixed_scale": True}, ("search.fixed_scale", "no gates to scale")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_input_is_one_line(refused, options, changes, says):
    made = options(**{key.replace(".", "__"): value for key, value in changes.items()})
    refused("search_topology", RECIPE, *made, says=says)


def test_a_table_that_lacks_cells_is_refused_before_the_search_comes_to_one(refused, options, tmp_path):
    cell = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    table = tmp_path / "table.csv"
    table.write_text(f"arch,cifar10\n{cell},93\n")
    made = options(bench__file=table, bench__dataset="cifar10")
    refused("search_topology", RECIPE, *made, says=(f"{table}: has 1 cells; give a table of all 15625 cells",))


def test_recipes_and_folders_of_other_kinds_are_refused(refused, found, tiny, options):
    width = ROOT / "recipes/width/preresnet20_digits_rarts.py"
    refused("search_topology", width, says=("space.type = 'preresnet'", "a recipe for `nncompress prune`; give it"))
    refused("train", RECIPE, says=("'nats_supernet'", "a recipe for `nncompress search-topology`; give it there"))
    refused("train", width, *tiny(), "--resume", work_dir=found[0], says=("holds a run of", "search-topology"))
    refused("search_topology", RECIPE, *options(), work_dir=found[0], says=("already holds a run",))


def test_random_cells_are_the_seeds(tool, options, tmp_path):
    texts = []
    for i, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(i)
        changes = {"search__method": "{'_delete_': True, 'type': 'random'}", "seed": seed}
        assert tool("search_topology", RECIPE, *options(**changes), "--work-dir", folder).code == 0
        texts.append(Genotype.load(folder / "genotype.json").text)
    assert texts[0] == texts[1] != texts[2]


def test_a_space_of_widths_has_no_edges_to_score():
    from compress.search import Site
    from compress.spaces import PreResNetSpace
    from compress.topology import EdgeLogits

    space = PreResNetSpace(11, 10)
    with pytest.raises(UserError, match="scores edges, which a preresnet has not"):
        EdgeLogits.of([torch.nn.Identity()], Site("rarts", None, space, (3, 32, 32)))
