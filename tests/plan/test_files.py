"""Writing is all or nothing."""

import pytest

from compress.plan import read_json, replacing, sha256, write_json


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "summary.json"
    write_json(file, {"old": True})

    def interrupted():
        with replacing(file) as tmp:
            tmp.write_text("half of")
            assert tmp.suffix == ".json"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert read_json(file) == {"old": True}
    assert list(tmp_path.iterdir()) == [file]


def test_values_json_cannot_hold_do_not_replace_the_file(tmp_path):
    file = tmp_path / "summary.json"
    write_json(file, {"old": True})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"loss": float("nan")})
    assert read_json(file) == {"old": True}


def test_sha256_of_a_known_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
