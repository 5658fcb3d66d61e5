"""Writes reports as XML and reads them back, unchanged. The format is `report.xsd`; every document written here has
passed it.
"""

from __future__ import annotations

import os

from lxml import etree

from flowgrad.errors import ReportError
from flowgrad.files import read_bounded, write_atomically
from flowgrad.report.reading import from_element
from flowgrad.report.schema import MOST_BYTES, validate, validated
from flowgrad.report.structure import AnyReport
from flowgrad.report.writing import to_element


def to_xml(report: AnyReport) -> bytes:
    """Write a whole document, UTF-8 with a declaration, indented by two spaces; equal input gives equal bytes.

    Attributes stand in the order of the fields, those of a mapping in the mapping's order. Numbers are xs:double
    (`INF`, `-INF`, `NaN`) and read back to the last bit. Characters that cannot stand in XML become U+FFFD.

    Raises:
        ReportError: for a report that cannot be written so that it follows `report.xsd`, or one of a kind that no class
            of this process declares; nothing is returned then.
    """
    data = etree.tostring(to_element(report), encoding="UTF-8", xml_declaration=True, pretty_print=True)
    validate(data)
    return data


def from_xml(data: bytes | str) -> AnyReport:
    """Read the report in `data`; `from_xml(to_xml(report)) == report`.

    Attributes of `<training>` come back as int or float where their text is how Python spells that number, else as
    text; those of `<environment>` are always text.

    Raises:
        ReportError: `line N: reason`, where `data` is no valid report.
    """
    return from_element(validated(data))


def read(path: str | os.PathLike[str]) -> AnyReport:
    """Read the report in a file.

    Raises:
        ReportError: `PATH: line N: reason`, where the file holds no valid report.
        OSError: where it cannot be read, or is no plain file of at most `MOST_BYTES`.
    """
    try:
        return from_xml(read_bounded(path, MOST_BYTES))
    except ReportError as error:
        raise ReportError(f"{os.fspath(path)}: {error}") from error


def write(report: AnyReport, path: str | os.PathLike[str]) -> None:
    """Write a report, whole or not at all: a reader never sees half of it, and an older file survives a failure.

    Raises:
        ReportError: as `to_xml`.
        OSError: where the folder cannot be written; it must exist.
    """
    write_atomically(path, to_xml(report))
