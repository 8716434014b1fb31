"""The reference kernel's own report, as it prints it on the serial line: what gdbext's answers are held against."""

import re
import shlex


def value(text):
    """A number if it is one, else the text."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return int(text, 16) if re.fullmatch(r"0x[0-9a-f]+", text) else text


class SerialReport:
    """The lines between ``report begin`` and ``report end``: by subject, each a dictionary."""

    def __init__(self, serial):
        body = serial.split("report begin", 1)[1].split("report end", 1)[0]
        self._lines = {}
        for line in body.splitlines():
            words = shlex.split(line)
            if words[:1] == ["report"]:
                facts = {key: value(text) for key, text in (word.split("=", 1) for word in words[2:])}
                self._lines.setdefault(words[1], []).append(facts)

    def all(self, subject):
        return self._lines.get(subject, [])

    def one(self, subject):
        (line,) = self.all(subject)
        return line
