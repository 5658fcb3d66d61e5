"""Holds paths to one folder: one that leads out of it, by `..`, as an absolute path or through a link, is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowgrad.errors import FlowGradError

_INNER = (".hydra",)
"""Folders in a run's folder that are read too."""


@dataclass(frozen=True)
class HeldPaths:
    """Paths inside one folder."""

    root: Path
    """Folder, without links in its path."""

    @classmethod
    def to(cls, root: str | Path) -> HeldPaths:
        """Hold paths to a folder.

        Raises:
            FlowGradError: there is no such folder.
        """
        found = Path(root).resolve()
        if not found.is_dir():
            raise FlowGradError(f"--root {root}: there is no such folder")
        return cls(found)

    def inside(self, given: str) -> str:
        """Path of a run, from the working folder, if it and the files beside it lie inside the root.

        Raises:
            FlowGradError: it does not, or it, or something in its folder, is a link that leads out.
        """
        path = self._resolved(given, self.root / given)
        for link in _links(path if path.is_dir() else path.parent):
            self._resolved(f"{given} ({link.name})", link)
        return os.path.relpath(path)

    def folder(self, given: str) -> str:
        """Path of a folder whose links are not followed, from the working folder, if it lies inside the root.

        Raises:
            FlowGradError: it does not.
        """
        return os.path.relpath(self._resolved(given, self.root / given))

    def _resolved(self, given: str, path: Path) -> Path:
        try:
            found = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise FlowGradError(f"{given}: no path of a file ({error})") from error
        if not found.is_relative_to(self.root):
            raise FlowGradError(f"{given}: it leads out of the folder that this server is held to; name a path inside")
        return found


def _links(folder: Path) -> Iterator[Path]:
    """Links among the files of a run's folder."""
    for place in (folder, *(folder / name for name in _INNER)):
        try:
            with os.scandir(place) as entries:
                yield from [Path(entry.path) for entry in entries if entry.is_symlink()]
        except OSError:
            continue
