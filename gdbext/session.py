"""One stopped machine with its kernel's symbols and profile, and all domains of knowledge about it."""

from collections.abc import Callable
from pathlib import Path

from gdbext.domains.domain import Domain
from gdbext.domains.heaps import Heaps
from gdbext.domains.parts import Parts
from gdbext.domains.physical import Physical
from gdbext.domains.stop import Stop
from gdbext.domains.translation import Translation
from gdbext.machine.stopped import Machine
from gdbext.profile.choice import ProfileChoice
from gdbext.symbols.model import Symbols


class Session(Stop):
    """What every command asks, each thing read once. A snapshot, like the stop that it is of."""

    def __init__(
        self,
        machine: Callable[[], Machine],
        symbols: Symbols,
        elf: Path | None,
        profiles: ProfileChoice,
        evaluate: Callable[[str], int],
        parts: Parts | None = None,
    ) -> None:
        super().__init__(machine, symbols, elf, profiles, evaluate, parts or Parts())
        self.translation = Translation(self)
        self.heaps = Heaps(self, self.translation)
        self.physical = Physical(self, self.translation, self.heaps)
        self.domains: tuple[Domain, ...] = (self.translation, self.physical, self.heaps)
