"""The words that filter a map: all of them must hold, and ``!`` before a word negates it."""

from collections.abc import Callable

from gdbext.errors import UsageError
from gdbext.machine.cpu import CpuState
from gdbext.vmm.words import WORDS
from gdbext.x86.attributes import Attributes
from gdbext.x86.rights import cache_type, supervisor_rights, user_rights

Wanted = Callable[[Attributes], bool]

_SIZES = {"4k": 1 << 12, "2m": 1 << 21, "4m": 1 << 22, "1g": 1 << 30}


def parse_filter(text: str, cpu: CpuState) -> Wanted:
    """A test of attributes from words such as ``w x !user``; UsageError lists the valid words."""
    tests = [_word(word, cpu) for word in text.replace(",", " ").split()]
    if not tests:
        raise UsageError(f"-filter needs at least one word of {', '.join(WORDS)}; put ! before a word to negate it")
    return lambda attributes: all(test(attributes) for test in tests)


def _word(text: str, cpu: CpuState) -> Wanted:
    word = text.lower()
    if word.startswith("!"):
        plain = _word(word[1:], cpu)
        return lambda attributes: not plain(attributes)
    if word not in WORDS:
        words = ", ".join(WORDS)
        raise UsageError(f"-filter has no word '{text}'; use {words}, with ! before a word to negate it")
    if word in _SIZES:
        return lambda attributes: attributes.page_size == _SIZES[word]
    if word == "global":
        return lambda attributes: attributes.is_global
    if word == "user":
        return lambda attributes: attributes.page.user
    if word[-1] in "rwx" and len(word) <= 2:
        rights = user_rights if word[0] == "u" else supervisor_rights
        name = {"r": "read", "w": "write", "x": "execute"}[word[-1]]
        return lambda attributes: bool(getattr(rights(cpu, attributes.page), name))
    return lambda attributes: cache_type(cpu, attributes.pwt, attributes.pcd, attributes.pat).rstrip("-") == word
