"""Text from outside, made fit for a terminal, a file and a spreadsheet."""

import os
import sys


def say(text, file=None):
    """Print what may have come from a submission: nothing of it reaches the terminal as a command.

    What the terminal, or on Windows a file, cannot spell is written as an escape.
    """
    file = file or sys.stdout
    known = getattr(file, "encoding", None) or "utf-8"
    print(printable(text).encode(known, "backslashreplace").decode(known), file=file, flush=True)


def printable(text):
    """`text` with what has no picture (control characters, half characters) written as an escape.

    Line ends stay, and so does all that a language is written with.
    """
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in str(text))


def _escape(character):
    code = ord(character)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def name_of(path):
    """The last part of a path as text; a name that is not UTF-8 is read as Latin-1."""
    raw = os.fsencode(os.path.basename(os.path.normpath(path)))
    try:
        found = raw.decode("utf-8")
    except UnicodeDecodeError:
        found = raw.decode("latin-1")
    return printable(found).replace("\n", "\\n")


def disarmed(cell):
    """What a table's cell holds, with a mark before what a spreadsheet would take for a formula."""
    text = printable(cell)
    begin = text.lstrip(" \n\u00a0\u3000")[:1]
    return f"'{text}" if begin in FORMULA else text


FORMULA = tuple("=+-@|%\uff1d\uff0b\uff0d\uff20")
