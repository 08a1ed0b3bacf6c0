"""Tables of true accuracies: columns found by name, ranks, damaged files, the benchmark's own folder."""

from __future__ import annotations

import gzip
import lzma
import sys
import types

import pytest

from compress.plan import Genotype, UserError
from compress.topology import load_bench

CONV = Genotype.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|")
SKIP = Genotype.parse(CONV.text.replace("nor_conv_3x3", "skip_connect"))
HEAD = "CIFAR10TestAccuracy200Epochs,CIFAR100TestAccuracy200Epochs,ArchitectureString,UniqueString"


def test_columns_are_found_by_the_data_sets_name_and_its_digits_end_there(table):
    ten, hundred = load_bench(table, "cifar10"), load_bench(table, "cifar100")
    assert (ten.accuracy(CONV), hundred.accuracy(CONV)) == (64, 32)
    assert ten.rank(CONV) == 1
    assert ten.rank(SKIP) == 1 + sum(value > 28 for value in ten.accuracies.values())
    assert len(ten.accuracies) == 15625


def test_a_packed_table_is_read(tmp_path):
    path = tmp_path / "table.csv.xz"
    path.write_bytes(lzma.compress(f"arch,cifar10\n{CONV.text},93.5\n{SKIP.text},54\n".encode()))
    bench = load_bench(path, "cifar10")
    assert (bench.accuracy(CONV), bench.rank(SKIP)) == (93.5, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEAD}\n", "holds no cells"),
        ("a,b\n1,2\n", "needs one called arch"),
        (f"{HEAD}\nx,2,{CONV.text},\n", "line 2: CIFAR10TestAccuracy200Epochs = 'x': must be an accuracy in percent"),
        (f"{HEAD}\n200,2,{CONV.text},\n", "must be an accuracy in percent"),
        (f"{HEAD}\nnan,2,{CONV.text},\n", "must be an accuracy in percent"),
        ("arch,cifar10,CIFAR10 too\n", "needs one called arch"),
        ("", "has the columns none"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_in_one_line(tmp_path, text, says):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        load_bench(path, "cifar10")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_cell_that_is_not_there_and_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"arch,cifar10\n{CONV.text},93\n")
    with pytest.raises(UserError, match=r"has no cell .*skip_connect"):
        load_bench(path, "cifar10").accuracy(SKIP)
    damaged = bytearray(gzip.compress("".join(f"{CONV.text},{i % 90}.{i}\n" for i in range(2000)).encode()))
    damaged[100] ^= 0xFF
    for name, data in (("table.csv.xz", b"no xz"), ("table.csv.gz", damaged)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="cannot be read"):
            load_bench(tmp_path / name, "cifar10")
    with pytest.raises(UserError, match="no such table"):
        load_bench(tmp_path / "none.csv", "cifar10")


def test_the_benchmarks_own_files_are_opened_only_when_trusted(tmp_path, monkeypatch):
    class Api(list):
        def get_more_info(self, index, dataset, *, hp, is_random):
            assert (dataset, hp, is_random) == ("cifar10", "200", False)
            return {"test-accuracy": 90.0 + index}

    def create(path, space, **options):
        assert (path, space) == (str(tmp_path), "tss")
        return Api([CONV.text, SKIP.text])

    monkeypatch.setitem(sys.modules, "nats_bench", types.SimpleNamespace(create=create))
    with pytest.raises(UserError, match=r"pickles, which can run code; .*--trust-benchmark"):
        load_bench(tmp_path, "cifar10")
    assert load_bench(tmp_path, "cifar10", trust=True).accuracy(SKIP) == 91
