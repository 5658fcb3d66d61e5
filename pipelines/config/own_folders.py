"""Refuses config files of the user's own that a config of this repository of the same name hides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from flowgrad.errors import FlowGradError


def check_hidden(choices: Mapping[str, str | None], sources: Sequence[str]) -> None:
    """Refuse a choice of a group for which a later folder has another file: Hydra reads the first alone.

    Args:
        choices: choice of each group, e.g. `{"model": "mf"}`.
        sources: places of configs (`file://...`), in the order that Hydra looks into them.

    Raises:
        FlowGradError: names both files.
    """
    folders = [Path(place.removeprefix("file://")) for place in sources if place.startswith("file://")]
    for group, choice in choices.items():
        files = [file for folder in folders if (file := folder / group / f"{choice}.yaml").is_file()]
        if len(files) > 1 and any(file.read_bytes() != files[0].read_bytes() for file in files[1:]):
            raise FlowGradError(f"{group}={choice} is {files[0]}, which hides {files[1]}; give yours another name")
