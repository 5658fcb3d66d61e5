"""Fingerprints the code that a result was computed by."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).parents[2]
_SOURCES = ("flowgrad", "pipelines", "datasets", "conf")
_APART = ("claims", "reproduce.py", "reproduce.yaml", "publish.py", "readme.py", "results.yaml")
"""Files that only read results."""
_PACKAGES = ("site-packages", "dist-packages")
"""Folders of what is installed; its versions are not part of a fingerprint."""


@cache
def source_sha256() -> str:
    """Hash of everything that a run's outcome rests on: code, configs, rules."""
    found = hashlib.sha256()
    for top in _SOURCES:
        for path in sorted((ROOT / top).rglob("*")):
            parts = path.relative_to(ROOT).parts
            if path.suffix in (".py", ".yaml", ".csv", ".xsd") and not set(parts) & set(_APART):
                found.update(f"{'/'.join(parts)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def code_sha256(config: DictConfig) -> str:
    """Hash of the code that runs a config: `source_sha256`, and with it the modules of the user's own that the config
    names, each with all of its package.
    """
    packages = {module.partition(".")[0] for module in _modules(config)}
    files = sorted({file for package in packages for file in _files(package)})
    if not files:
        return source_sha256()
    found = hashlib.sha256(source_sha256().encode())
    for path in files:
        found.update(f"{path.name}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _modules(config: DictConfig) -> Iterator[str]:
    """Yield the modules of `_target_` and of the types of settings, anywhere in a config."""
    for key in config:
        if (
            key in ("rules", "hydra")
            or OmegaConf.is_missing(config, key)
            or OmegaConf.is_interpolation(config, str(key))
        ):
            continue
        value = config[key]
        if key == "_target_" and isinstance(value, str):
            yield value.rpartition(".")[0]
        elif isinstance(value, DictConfig):
            kind = OmegaConf.get_type(value)
            if isinstance(kind, type):
                yield kind.__module__
            yield from _modules(value)


def _files(package: str) -> list[Path]:
    """Source files of a package or module that is neither installed nor part of this repository."""
    try:
        spec = find_spec(package) if package not in sys.stdlib_module_names else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return []
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    if folders and all(ROOT in folder.resolve().parents for folder in folders):
        return []
    if folders and all(map(_is_installed, folders)):
        return []
    files = [file for folder in folders for file in folder.rglob("*.py")] or [Path(spec.origin or "")]
    own = (file for file in files if file.suffix == ".py" and not _is_installed(file))
    return [file for file in own if ROOT not in file.resolve().parents]


def _is_installed(path: Path) -> bool:
    return bool(set(path.parts) & {*_PACKAGES})
