"""What QEMU's processor does not do as the manual says, and so cannot judge: expectations derived by hand.

See `deviations.OF_THE_PROCESSOR`. No machine takes part.
"""

import pytest

from gdbext.x86.access import ERROR_P, ERROR_RSVD, predict_fault
from gdbext.x86.modes import PS, P, U, W
from gdbext.x86.walk import Outcome, walk
from tests.unit.guest import Guest, cpu


@pytest.mark.parametrize("bit", [1, 2, 5, 6, 7, 8, *range(36, 64)])
def test_reserved_bits_of_a_pdpte(bit: int) -> None:
    """SDM vol. 3A, table 4-8: bits 2:1 and 8:5, and all from MAXPHYADDR up, 63 among them, are reserved."""
    guest = Guest()
    guest.entry(0x1000, 0, 0x2000 | P | 1 << bit)
    found = walk(guest.memory, cpu("pae", phys_bits=36), 0)
    assert (found.outcome, found.stopped_at) == (Outcome.RESERVED_BITS, 3)


@pytest.mark.parametrize("bit", [3, 4, 9, 10, 11])
def test_bits_of_a_pdpte_that_mean_no_harm(bit: int) -> None:
    """The same table: PWT and PCD, and three bits that are ignored."""
    guest = Guest()
    guest.entry(0x1000, 0, 0x2000 | P | 1 << bit)
    found = walk(guest.memory, cpu("pae", phys_bits=36), 0)
    assert (found.outcome, found.stopped_at) == (Outcome.NOT_PRESENT, 2)


@pytest.mark.parametrize(("phys_bits", "first_reserved"), [(32, 13), (36, 17), (39, 20), (40, 21), (52, 21)])
def test_pse36_reserves_what_lies_above_maxphyaddr(phys_bits: int, first_reserved: int) -> None:
    """SDM vol. 3A, table 4-4: bits (M-20):13 hold the address, bits 21:(M-19) are reserved, M = min(40, MAXPHYADDR)."""
    for bit in range(13, 22):
        guest = Guest()
        guest.entry(0x1000, 0, P | W | U | PS | 1 << bit, size=4)
        outcome = walk(guest.memory, cpu("32-bit", phys_bits=phys_bits), 0).outcome
        assert outcome is (Outcome.RESERVED_BITS if bit >= first_reserved else Outcome.MAPPED), bit


def test_a_reserved_bit_fault_says_present() -> None:
    """SDM vol. 3A, 4.7: RSVD can be set only if P is."""
    guest = Guest()
    guest.entry(0x1000, 0, 0x2000 | P | PS)
    assert predict_fault(guest.memory, cpu(), 0, "read", user=False) == ERROR_P | ERROR_RSVD
