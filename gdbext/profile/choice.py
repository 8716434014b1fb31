"""Which profile describes the kernel: the one that the user chose, or else the one that belongs to it."""

from collections.abc import Collection
from pathlib import Path

from gdbext.errors import DescriptionError
from gdbext.profile.binding.bind import BoundProfile, bind
from gdbext.profile.language.schema import Profile
from gdbext.profile.toml.load import find_profile, load_profile
from gdbext.symbols.model import Detail, Symbols

NO_PROFILE = (
    "no profile describes this kernel: run 'memprofile use FILE', or put gdbext.toml next to the kernel's ELF file"
)


class ProfileChoice:
    """Keeps the user's choice, and the last bound profile until the symbols or the file change."""

    def __init__(self, rules: Collection[str]) -> None:
        """``rules`` are the ids that a profile may name."""
        self._rules = rules
        self._chosen: str | None = None
        self._kept: tuple[object, BoundProfile] | None = None

    def use(self, path_or_name: str) -> None:
        """Use this profile from now on. Raises ProfileError when it cannot be read."""
        load_profile(path_or_name, self._rules)
        self._chosen = path_or_name
        self.forget()

    def forget(self) -> None:
        """Bind the profile again next time: the symbols have changed."""
        self._kept = None

    def bound(self, symbols: Symbols, elf: Path | None) -> BoundProfile:
        """The profile, bound to the kernel's symbols. Raises DescriptionError when there is none."""
        key = (self._chosen, elf, _stamp(self._chosen))
        if self._kept is None or self._kept[0] != key:
            profile = self._found(symbols, elf)
            if profile is None:
                raise DescriptionError(_why_none(symbols, elf))
            self._kept = key, bind(profile, symbols)
        return self._kept[1]

    def _found(self, symbols: Symbols, elf: Path | None) -> Profile | None:
        if self._chosen is not None:
            return load_profile(self._chosen, self._rules)
        return find_profile(elf, symbols, self._rules)


def _why_none(symbols: Symbols, elf: Path | None) -> str:
    """Why there is no profile, and what to do about it."""
    if elf is None:
        return "the kernel's symbols are not loaded: load its ELF file with 'file'"
    if symbols.detail() is Detail.NOTHING:
        return f"{elf.name} has no symbols: it is stripped; load the unstripped file"
    return NO_PROFILE


def _stamp(path_or_name: str | None) -> float | None:
    """When a profile's file was last written, so that an edited file is read again."""
    path = Path(path_or_name) if path_or_name else None
    return path.stat().st_mtime if path and path.is_file() else None
