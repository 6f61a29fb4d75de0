"""Where each result comes from, for machines: RO-Crate of the whole, Croissant of each data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lib.files import ROOT, whole
from lib.tasks.files.prepared import DATASETS, Dataset

CRATE, AUTHORS = "ro-crate-metadata.json", "The learned-equivariance authors"
LICENCE = {"@id": "https://spdx.org/licenses/MIT", "@type": "CreativeWork", "name": "MIT License"}
TYPES = {".csv": "text/csv", ".svg": "image/svg+xml", ".pdf": "application/pdf", ".ipynb": "application/x-ipynb+json"}
TYPES |= {".typ": "text/plain", ".bib": "application/x-bibtex"}
TYPES |= {".yaml": "application/yaml", ".lock": "application/yaml", ".md": "text/markdown", ".json": "application/json"}
SINCE = "2026-11-21"  # the first commit
CMU = "mocap.cs.cmu.edu; the database was created with funding from NSF EIA-0196217"
ABOUT = {  # title, description, terms as they are usually cited, citation, page
    "mnist": ("MNIST: handwritten digits", "Images of 28 x 28 pixels and their classes.", "https://creativecommons.org/licenses/by-sa/3.0/",
              "LeCun, Cortes and Burges, The MNIST database of handwritten digits", "http://yann.lecun.com/exdb/mnist/"),
    "fashion": ("Fashion-MNIST", "Images of clothes, 28 x 28 pixels, and their classes.", "https://spdx.org/licenses/MIT",
                "Xiao, Rasul and Vollgraf (2017), Fashion-MNIST", "https://github.com/zalandoresearch/fashion-mnist"),
    "mocap_walk": ("CMU motion capture, subject 35, walking", "Positions of 31 joints in 23 trials.",
                   "free for all uses, not to be resold", CMU, "http://mocap.cs.cmu.edu"),
    "mocap_run": ("CMU motion capture, subject 9, running", "Positions of 31 joints in 11 trials.",
                  "free for all uses, not to be resold", CMU, "http://mocap.cs.cmu.edu"),
    "qm9": ("QM9", "Small molecules: atoms, positions, energies.", "https://creativecommons.org/publicdomain/zero/1.0/",
            "Ramakrishnan, Dral, Rupp and von Lilienfeld (2014), Quantum chemistry structures and properties of 134 kilo molecules",
            "https://doi.org/10.6084/m9.figshare.c.978904"),
    "ocean": ("Sea levels of the Mediterranean", "Gridded absolute dynamic topography, daily, April to June 2005.",
              "free use, the source to be named", "E.U. Copernicus Marine Service Information", "https://marine.copernicus.eu"),
}  # fmt: skip
TERMS = "citeAs column extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath key md5 parentField path"
TERMS += " recordSet references regex repeated replace separator source subField transform samplingRate equivalentProperty"
CROISSANT = {  # the context that the standard gives
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{term: f"cr:{term}" for term in TERMS.split()},
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
}


def stages() -> Mapping[str, Mapping[str, Any]]:
    """The stages of dvc.yaml that make something, but for training."""
    found = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage for name, stage in found.items() if name != "train" and stage.get("outs")}


def references(names: Iterable[str]) -> Any:
    """References to these entities; of one alone the reference itself, as RO-Crate has it."""
    found = [{"@id": name} for name in names]
    return found[0] if len(found) == 1 else found


def entities() -> Iterator[dict[str, Any]]:
    """Files, and one action a stage: what it read, what it ran, what it made."""
    files: set[str] = set()
    for name, stage in stages().items():
        outs = [ROOT / (next(iter(out)) if isinstance(out, Mapping) else out) for out in stage["outs"]]
        files_of = [sorted(out.iterdir()) if out.is_dir() else [out] for out in outs]
        made = [file.relative_to(ROOT).as_posix() for found in files_of for file in found]
        made = [file for file in made if file != CRATE and not file.startswith("docs/croissant")]
        read = [file for file in stage["deps"] if (ROOT / file).is_file() and file not in made]
        folders = [f"{file}/" for file in stage["deps"] if (ROOT / file).is_dir()]
        run = next((file for file in read if file.startswith("notebooks/")), "lib/")
        if made:
            files |= {*made, *read}
            yield {
                "@id": f"#stage-{name}",
                "@type": "CreateAction",
                "name": f"dvc repro {name}",
                "instrument": {"@id": run},
                "object": references(file for file in dict.fromkeys([*read, *folders]) if file != run),
                "result": references(made),
            }
    for file in sorted(files | {"params.yaml", "dvc.yaml", "dvc.lock", "README.md", "paper/claims.yaml"}):
        kind = ["File", "SoftwareSourceCode"] if file.endswith(".ipynb") else "File"
        format_of = {"encodingFormat": TYPES[Path(file).suffix]} if Path(file).suffix in TYPES else {}
        yield {"@id": file, "@type": kind, "name": file, **format_of}
    for folder, what in {"lib/": "the package", "results/": "records, tables, ledger", "figures/": "figures and their numbers"}.items():
        yield {"@id": folder, "@type": "Dataset", "name": folder.rstrip("/"), "description": what}


def crate() -> dict[str, Any]:
    """RO-Crate 1.1 metadata of the project: its files, and by which stage of DVC each result was made from which others."""
    parts = list(entities())
    objects = [part["object"] if isinstance(part["object"], list) else [part["object"]] for part in parts if "object" in part]
    folders = {one["@id"] for part in objects for one in part if one["@id"].endswith("/")} - {part["@id"] for part in parts}
    records = {"@type": "Dataset", "description": "records of runs, or tables"}
    parts += [{"@id": folder, "name": folder.rstrip("/"), **records} for folder in sorted(folders)]
    authors = {"@id": "#authors", "@type": "Organization", "name": AUTHORS}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": "Learned equivariance: SEMoLA and REMUL, reproduced",
        "description": "Records, tables and figures of two papers on learned equivariance, and the code that makes them.",
        "datePublished": SINCE,
        "license": {"@id": LICENCE["@id"]},
        "author": {"@id": "#authors"},
        "publisher": {"@id": "#authors"},
        "hasPart": [{"@id": part["@id"]} for part in parts if not part["@id"].startswith("#")],
        "mentions": [{"@id": part["@id"]} for part in parts if part["@id"].startswith("#")],
    }
    described = {"@id": CRATE, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"}}
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": [described, root, authors, LICENCE, *parts]}


def croissant(name: str, dataset: Dataset) -> dict[str, Any]:
    """Croissant 1.0 metadata of a prepared data set: its file with its digest, and the official addresses of what it is prepared from.

    These are no files of the distribution: their digests, where the package knows them, are of the uncompressed content.
    """
    title, about, licence, cite, address = ABOUT[name]
    file = {
        "@type": "cr:FileObject",
        "@id": dataset.file,
        "name": Path(dataset.file).name,
        "description": f"prepared by `python -m lib data {name}`",
        "contentUrl": dataset.file,
        "encodingFormat": "application/zip",
        "sha256": dataset.sha256,
    }
    return {
        "@context": CROISSANT,
        "@type": "sc:Dataset",
        "@id": name,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title,
        "description": about,
        "license": licence,
        "url": address,
        "version": "1.0.0",
        "datePublished": SINCE,
        "creator": {"@id": "#authors", "@type": "sc:Organization", "name": AUTHORS},
        "citeAs": cite,
        "isBasedOn": [source.official for source in dataset.sources.values() if source.official] or [address],
        "distribution": [file],
    }


def write(root: Path = ROOT) -> list[Path]:
    """The metadata of the whole and of each data set, written there."""
    folder = root / "docs" / "croissant"
    found = {root / CRATE: crate(), **{folder / f"{name}.json": croissant(name, dataset) for name, dataset in DATASETS.items()}}
    for path, content in found.items():
        with whole(path) as partial:
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return list(found)
