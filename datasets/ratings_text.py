"""Reads text files into records: bytes to text, and text to rows of fields with the line that each starts on."""

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowgrad.csv_tables import long_line
from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded, told_size

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SEPARATOR_LINE = re.compile(r"sep=.?", re.IGNORECASE)
_NOT_TEXT = {
    b"\x1f\x8b": "compressed by gzip",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"BZh91AY&SY": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"(\xb5/\xfd": "compressed by zstd",
    b"PAR1\x15": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
}
_SEPARATORS = {
    ",": """'dataset.separator=","'""",
    ";": """'dataset.separator=";"'""",
    "\t": r"'dataset.separator=\t'",
    "::": "dataset.separator=::",
    "|": "'dataset.separator=|'",
}
"""Usual separators, each as it is given on a command line."""
MOST_BYTES = 1 << 30
"""Number of bytes of a ratings file: some forty million ratings, for which reading takes 30 GB of memory."""
LONGEST_LINE = 1 << 20
"""Number of bytes of one line."""
_PROBE = 64
_SHOWN = 60


@dataclass(frozen=True)
class Record:
    """One row of the file that is not empty."""

    line: int
    """Number of the line that the row starts on, from 1; a quoted field may go over several lines."""
    fields: list[str]
    """Fields as they stand, without their quotes; the whole line where `fault` is set."""
    fault: str = ""
    """The reason why the row is not CSV; empty for all others."""


@dataclass(frozen=True)
class Content:
    """Words for what a file holds."""

    kind: str
    """Words before its name in errors: `ratings file`."""
    row: str
    """Name of what a line holds: `rating`."""

    def named(self, file: Path) -> str:
        """Name of the file in errors."""
        return f"{self.kind} {str(file)!r}"


RATINGS = Content("ratings file", "rating")


def named(file: Path) -> str:
    """Name of a ratings file in errors."""
    return RATINGS.named(file)


def read_text(file: Path, encoding: str, content: Content = RATINGS) -> str:
    """Read the text of a file, without a byte order mark.

    Raises:
        FlowGradError: the file is missing, unreadable or no text, or the encoding is unknown or another one.
    """
    codec = _codec(encoding)
    data = _read_bytes(file, content)
    for start, what in _NOT_TEXT.items():
        if data.startswith(start):
            raise FlowGradError(
                f"{content.named(file)} is {what}; unpack it, or save it as text with one {content.row} a line"
            )
    mark = next((name for start, name in _BYTE_ORDER_MARKS.items() if data.startswith(start)), None)
    if mark and not codec.startswith(mark):
        raise FlowGradError(
            f"{content.named(file)} starts with the byte order mark of {mark} and is not {encoding}; "
            f"set dataset.encoding={mark}"
        )
    if codec == "utf-8" and (wide := _unmarked_utf16(data)):
        raise FlowGradError(f"{content.named(file)} is not utf-8: every other byte is 0; set dataset.encoding={wide}")
    if (line := long_line(data, LONGEST_LINE)) is not None:
        raise FlowGradError(
            f"{content.named(file)}: line {line} has more than {told_size(LONGEST_LINE)}; expected one {content.row} "
            "a line"
        )
    try:
        return data.decode(codec).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise FlowGradError(_undecodable(content.named(file), data, codec, error)) from error


def checked_separator(separator: str, quote: str | None) -> str:
    r"""Check the separator, and turn an escape such as `\t` or `\x01` into the character it stands for.

    Raises:
        FlowGradError: it is empty, or holds a line end or the quote.
    """
    plain = separator
    if isinstance(separator, str) and separator.startswith("\\") and len(separator) > 1:
        try:
            plain = codecs.decode(separator, "unicode_escape")
        except UnicodeDecodeError:
            plain = separator
    if not isinstance(plain, str) or not plain or set(plain) & {"\r", "\n", quote}:
        raise FlowGradError(
            f"dataset.separator is {separator!r}; expected one or several characters such as "
            f"""{", ".join(_SEPARATORS.values())} or 'dataset.separator=" "', and neither a quote nor a line end"""
        )
    return plain


def checked_quote(quote: str | None) -> str | None:
    """Check the character that quotes fields, or None.

    Raises:
        FlowGradError: it is no single character.
    """
    if quote is not None and (not isinstance(quote, str) or len(quote) != 1 or quote in "\r\n"):
        raise FlowGradError(
            f"dataset.quote is {quote!r}; expected one character, or dataset.quote=null where quotes are text"
        )
    return quote


def suggested_separator(line: str, separator: str) -> str:
    """Suggest another separator that splits this line, as a setting to try; empty if none does."""
    counts = {setting: line.count(mark) for mark, setting in _SEPARATORS.items() if mark != separator}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else ""


def records(text: str, separator: str, quote: str | None, file: Path, content: Content = RATINGS) -> Iterator[Record]:
    """Yield each record that is not empty, but for a first line such as `sep=;`, which is written for a spreadsheet.

    Raises:
        FlowGradError: a quote is never closed, or closed lines below.
    """
    # The csv module takes one character, so a longer separator is read as one that the text does not hold.
    delimiter = separator if len(separator) == 1 else _unused(text)
    text = text if len(separator) == 1 else text.replace(separator, delimiter)
    lines = io.StringIO(text, newline="")
    if quote is None:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True)
    while True:
        start, offset = reader.line_num + 1, lines.tell()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Past a stray quote the lines no longer fall into rows, and dropping them would hide how many were lost.
            if quote is not None and (reader.line_num > start or "unexpected end of data" in str(error)):
                raise FlowGradError(
                    f"{content.named(file)}: the quote opened on line {start} is not closed there ({error}); close it, "
                    f"double quotes inside a quoted field, or set dataset.quote=null if {quote} is text as any other"
                ) from error
            whole = text[offset : lines.tell()].rstrip("\r\n").replace(delimiter, separator)
            yield Record(start, [whole], f"not CSV, {error}")
        else:
            kept = fields if delimiter == separator else [one.replace(delimiter, separator) for one in fields]
            if kept and not (start == 1 and _SEPARATOR_LINE.fullmatch(separator.join(kept))):
                yield Record(start, kept)


def shortened(text: str) -> str:
    """Quote the text, cut where it is long."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


def _read_bytes(file: Path, content: Content) -> bytes:
    try:
        return read_bounded(file, MOST_BYTES)
    except FileNotFoundError as error:
        raise FlowGradError(f"{content.named(file)} does not exist; set dataset.path to a {content.kind}") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FlowGradError(
            f"{content.named(file)} cannot be read ({reason}); set dataset.path to a {content.kind}"
        ) from error


def _codec(encoding: str) -> str:
    """Python's name of the encoding."""
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)  # refuses those that turn bytes into bytes, such as hex
    except (LookupError, TypeError, ValueError) as error:
        raise FlowGradError(
            f"dataset.encoding={encoding!r} is unknown; expected utf-8, latin-1, cp1252, utf-16 or another of Python's"
        ) from error
    return "utf-8" if codec == "utf-8-sig" else codec


def _unmarked_utf16(data: bytes) -> str:
    """The kind of UTF-16 that plain text without a mark seems to be; empty if none."""
    start = data[:_PROBE]
    even, odd = start[0::2], start[1::2]
    if len(start) >= 4 and not any(odd) and all(even):
        return "utf-16-le"
    if len(start) >= 4 and not any(even) and all(odd):
        return "utf-16-be"
    return ""


def _undecodable(named: str, data: bytes, codec: str, error: UnicodeDecodeError) -> str:
    before = data[: error.start].decode(codec, "ignore")
    line = len(data[: error.start + 1].splitlines()) if codec == "utf-8" else before.count("\n") + 1
    what = f"{named} is not {codec}: byte 0x{data[error.start]:02x} at position {error.start}, on line {line}"
    if codec not in ("utf-8", "ascii"):
        return f"{what}, cannot be read ({error.reason}); set dataset.encoding to the one that it was saved in"
    lines = data.splitlines()
    n_bad = sum(not _decodes(one, codec) for one in lines)
    other = "utf-8" if codec == "ascii" and _decodes(data, "utf-8") else _western(data)
    shown = shortened(lines[line - 1].decode(other))
    others = "" if other == "utf-8" else " (or cp1250, cp1251, shift_jis, gb18030, ...)"
    return (
        f"{what} ({n_bad} of {len(lines)} lines hold such bytes); set dataset.encoding to the one it was saved in: "
        f"dataset.encoding={other}{others} reads that line as {shown}"
    )


def _western(data: bytes) -> str:
    """cp1252 where bytes are letters or quotes there and control characters in latin-1; else latin-1."""
    control = any(0x80 <= byte < 0xA0 for byte in set(data))
    return "cp1252" if control and _decodes(data, "cp1252") else "latin-1"


def _decodes(data: bytes, codec: str) -> bool:
    try:
        data.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _unused(text: str) -> str:
    """A character that the text does not hold."""
    held = set(text)
    return next(chr(code) for code in (0x1F, *range(0xE000, sys.maxunicode)) if chr(code) not in held)
