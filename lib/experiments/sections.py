"""params.yaml, a section an experiment: read, and written again as the files that stages depend on."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import yaml

from lib.experiments.values import ConfigError, nearest
from lib.files import ROOT, whole


def parameters(experiment: str) -> dict[str, Any]:
    """That experiment's section of params.yaml, a copy. Raises ConfigError, with the names nearest to it, for any other."""
    if experiment not in (known := experiments()):
        raise ConfigError(f"unknown experiment {experiment!r}: {nearest(experiment, known)}, or add it to params.yaml")
    return copy.deepcopy(sections()[experiment])


def experiments() -> list[str]:
    """The names of params.yaml's sections."""
    return [name for name, section in sections().items() if isinstance(section, dict)]


def sections() -> dict[str, Any]:
    """params.yaml as it is now. Raises ConfigError where there is none, as beside an installed package."""
    path = ROOT / "params.yaml"
    if not path.is_file():
        raise ConfigError(f"{path} is not there: settings and records are the project's: clone it and pip install -e '.[paper]'")
    return parsed(path.read_text())


@functools.lru_cache(maxsize=1)
def parsed(text: str) -> dict[str, Any]:
    """The sections of params.yaml. Raises ConfigError where it is broken or has a key twice, of which YAML would take the last."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError("params.yaml must be a mapping of experiments to their sections")
        waiting, seen = [root], set()
        while waiting:
            node = waiting.pop()
            if id(node) not in seen and isinstance(node, yaml.CollectionNode):
                seen.add(id(node))
                pairs = node.value if isinstance(node, yaml.MappingNode) else [(None, entry) for entry in node.value]
                names = [key.value for key, _ in pairs if key is not None]
                for key, value in pairs:
                    if key is not None and names.count(key.value) > 1:
                        raise ConfigError(f"params.yaml has {key.value} twice in one mapping, once in line {key.start_mark.line + 1}")
                    waiting.append(value)
        return loader.construct_document(root)
    except yaml.YAMLError as error:
        raise ConfigError(f"params.yaml cannot be read: {error}") from error
    finally:
        loader.dispose()


def write_sections(folder: Path = ROOT / "results" / "settings") -> list[str]:
    """Writes each section of params.yaml to a file of its own there, references in their places; returns the experiments' names.

    Ours: a stage that depends on such a file runs anew where that experiment's settings changed, as one with DVC's `params` does, but of
    it dvc.lock has a hash where it would have the whole section, for every stage, to be read and written by every stage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (known := experiments()):
        with whole(folder / f"{name}.yaml") as path:
            path.write_text(yaml.dump(parameters(name), Dumper=Plain, sort_keys=False, default_flow_style=None, width=140))
    for other in {file.stem for file in folder.glob("*.yaml")}.difference(known):
        (folder / f"{other}.yaml").unlink()
    return known


class Plain(yaml.SafeDumper):
    """Writes what is referred to twice twice."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True
