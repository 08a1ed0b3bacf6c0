"""Comparisons by protocol: equally many trials, and no test image before file and trials are settled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compress.plan import UserError

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from _protocol import REQUIRED, Protocol, kept  # noqa: E402

VALUES = {
    "purpose": "a test",
    "methods": {"ours": {"by": "search", "trials": [{"x": 1}, {"x": 2}]}, "other": {"trials": [{}, {"x": 3}]}},
    "tuning": {"seed": 7, "holdout": 0.2, "budget": "macs-0.5"},
    "budgets": ["macs-0.5", "macs-0.25"],
    "seeds": [1, 2],
    "stopping": "at the end",
    "primary": {"figure": "top1", "budget": "macs-0.5", "method": "ours", "against": ["other"]},
    "data": {"type": "npz"},
    "search": {"epochs": 2},
    "select": {},
    "finetune": {"epochs": 1},
}
TOP1 = {("ours", 0): 50.0, ("ours", 1): 60.0, ("other", 0): 55.0, ("other", 1): 55.0}


class Comparison:
    """A repository with a protocol, and a folder of trials."""

    def __init__(self, folder: Path) -> None:
        self.path, self.folder = folder / "protocol.json", folder / "results"
        self.git("init", "-q")
        self.write(VALUES)

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(self.path.parent), *who, *arguments], check=True, capture_output=True)

    def write(self, values: dict) -> Protocol:
        self.path.write_text(json.dumps(values, indent=1))
        return self.protocol

    @property
    def protocol(self) -> Protocol:
        return Protocol.load(self.path)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "m")

    def tune(self, *, hashed: bool = True) -> None:
        protocol = self.protocol
        made_from = {"settings_sha256": protocol.settings_hash} if hashed else {}
        for name, number, _, budget in protocol.trials(list(protocol.values["methods"])):
            file = protocol.trial_file(self.folder, name, number, budget)
            kept(file, lambda n=name, i=number: {"top1": TOP1[n, i]}, **made_from)

    def check(self) -> None:
        self.protocol.check_test_images(self.folder)


@pytest.fixture
def comparison(tmp_path):
    return Comparison(tmp_path)


def test_a_committed_protocol_with_all_its_trials_may_read_test_images(comparison):
    comparison.commit()
    comparison.tune()
    comparison.check()
    assert comparison.protocol.chosen(comparison.folder, "ours", "macs-0.25") == (1, {"x": 2})
    assert comparison.protocol.chosen(comparison.folder, "other", "macs-0.5")[0] == 0, "of equal ones the first"


def test_a_free_ratio_is_chosen_among_those_of_a_share(comparison):
    protocol = comparison.write({**VALUES, "tuning": {**VALUES["tuning"], "pruned": [0.6, 0.8]}})
    for number, pruned in enumerate((0.7, 0.9)):
        for name, row in (("ours", {"top1": TOP1["ours", number], "pruned": pruned}), ("other", {"top1": 50 + number})):
            kept(protocol.trial_file(comparison.folder, name, number, "macs-0.5"), lambda r=row: r)
    assert protocol.chosen(comparison.folder, "ours", "macs-0.5") == (0, {"x": 1})
    assert protocol.chosen(comparison.folder, "other", "macs-0.5") == (1, {"x": 3})
    none = comparison.write({**VALUES, "tuning": {**VALUES["tuning"], "pruned": [0.1, 0.2]}})
    with pytest.raises(
        UserError, match=r"^ours: no trial prunes a share of 0\.1 to 0\.2, but 0\.7, 0\.9; give it others"
    ):
        none.chosen(comparison.folder, "ours", "macs-0.5")


@pytest.mark.parametrize("key", REQUIRED)
def test_a_protocol_says_everything(comparison, key):
    with pytest.raises(UserError, match=rf"^protocol\.json: has no '{key}'; a protocol has"):
        comparison.write({name: value for name, value in VALUES.items() if name != key})


def test_methods_have_equally_many_trials(comparison):
    fewer = {**VALUES, "methods": {**VALUES["methods"], "third": {"trials": [{}]}}}
    with pytest.raises(UserError, match="'third' has 1 trials and 'ours' 2; give every method equally many"):
        comparison.write(fewer)
    with pytest.raises(UserError, match="equally many"):
        comparison.write({**VALUES, "methods": {"ours": {"trials": []}}})


def test_an_uncommitted_protocol_reads_no_test_image(comparison):
    comparison.tune()
    with pytest.raises(UserError, match="is not committed"):
        comparison.check()
    comparison.commit()
    comparison.path.write_text(comparison.path.read_text() + "\n")
    with pytest.raises(UserError, match="has changes that git does not have"):
        comparison.check()


def test_a_method_with_fewer_trials_than_another_stops_all(comparison):
    comparison.commit()
    comparison.tune()
    (comparison.folder / "trial other 1.json").unlink()
    with pytest.raises(UserError, match=r"^trial other 1\.json: is missing, so 'other' has fewer trials than others"):
        comparison.check()


@pytest.mark.parametrize("hashed", [True, False], ids=["by hash", "by git"])
def test_settings_do_not_change_between_trials_and_test_images(comparison, hashed):
    comparison.commit()
    comparison.tune(hashed=hashed)
    comparison.commit()
    comparison.check()
    comparison.write({**VALUES, "stopping": "earlier, which no trial depends on"})
    comparison.commit()
    comparison.check()
    comparison.write({**VALUES, "finetune": {"epochs": 9}})
    comparison.commit()
    with pytest.raises(
        UserError, match=r"^trial ours 0\.json: was made under other settings than protocol\.json has now"
    ):
        comparison.check()


def test_a_trial_that_nobody_can_date_does_not_count(comparison):
    comparison.commit()
    comparison.tune(hashed=False)
    with pytest.raises(UserError, match="was made under other settings"):
        comparison.check()


def test_cells_are_gathered_under_the_protocol_that_made_them(comparison):
    protocol = comparison.protocol
    cell = (comparison.folder / "macs-0.5 ours 1.json", {"protocol_sha256": protocol.hash})
    protocol.check_cells([cell])
    changed = comparison.write({**VALUES, "primary": {**VALUES["primary"], "budget": "macs-0.25"}})
    with pytest.raises(UserError, match=r"macs-0\.5 ours 1\.json: was made under another state of protocol\.json"):
        changed.check_cells([cell])


def test_an_older_cell_without_a_hash_is_held_to_the_settings_that_git_had_with_it(comparison):
    file = comparison.folder / "macs-0.5 ours 1.json"
    kept(file, lambda: {"top1": 1.0})
    with pytest.raises(UserError, match="another state"):
        comparison.protocol.check_cells([(file, {})])
    comparison.commit()
    comparison.protocol.check_cells([(file, {})])
    changed = comparison.write({**VALUES, "search": {"epochs": 3}})
    with pytest.raises(UserError, match="another state"):
        changed.check_cells([(file, {})])


def test_trials_of_every_budget_where_the_protocol_has_them(comparison):
    own = comparison.write({**VALUES, "tuning": {"seed": 7, "holdout": 0.2}})
    found = [own.trial_file(Path(), name, number, budget).name for name, number, _, budget in own.trials(["ours"])]
    assert found == [f"trial {budget} ours {number}.json" for budget in VALUES["budgets"] for number in (0, 1)]


def test_what_is_there_is_not_made_again(tmp_path):
    kept(tmp_path / "a" / "cell.json", lambda: {"top1": 1.0}, protocol_sha256="h")
    kept(tmp_path / "a" / "cell.json", lambda: pytest.fail("made again"))
    found = json.loads((tmp_path / "a" / "cell.json").read_text())
    assert (found["top1"], found["protocol_sha256"]) == (1.0, "h")


PROTOCOLS = [*sorted((ROOT / "benchmarks").glob("*rivals_*.json")), ROOT / "benchmarks/sidt_drawn.json"]


@pytest.mark.parametrize("file", PROTOCOLS, ids=lambda file: file.stem)
def test_the_protocols_that_are_here_are_fair(file):
    protocol = Protocol.load(file)
    primary = protocol.values["primary"]
    assert primary["budget"] in protocol.values["budgets"]
    assert {primary["method"], *primary["against"]} <= protocol.values["methods"].keys()
    assert protocol.values["tuning"]["seed"] not in protocol.values["seeds"]
    assert 0 < protocol.values["tuning"]["holdout"] < 1
