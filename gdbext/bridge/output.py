"""What gdb prints: text in the character set of gdb's terminal, whatever the kernel's names are made of."""

import gdb


def write(text: str) -> None:
    """Print a text; a character that the terminal's character set lacks is shown as its Python escape."""
    gdb.write(printable(text))


def failure(text: str) -> gdb.GdbError:
    """The error whose text gdb prints as the one line of a command that failed."""
    return gdb.GdbError(printable(text))


def printable(text: str) -> str:
    """The text as the host's character set can carry it. gdb raises UnicodeEncodeError for anything else."""
    if text.isascii():
        return text
    charset = gdb.host_charset()
    try:
        return text.encode(charset, "backslashreplace").decode(charset)
    except LookupError:  # a character set that Python does not know
        return text.encode("ascii", "backslashreplace").decode("ascii")
