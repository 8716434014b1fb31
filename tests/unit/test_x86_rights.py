"""What each access comes to: rights, error codes and verdicts, from tables worked out by hand.

Intel SDM vol. 3A, 4.6 (rights), 4.6.2 (keys) and 4.7 (error codes); AMD APM vol. 2, 5.6 and 8.4.2.
"""

from dataclasses import replace
from itertools import product

import pytest

from gdbext.machine.cpu import (
    CR0_PG,
    CR0_WP,
    CR4_LA57,
    CR4_PCIDE,
    CR4_PGE,
    CR4_PKE,
    CR4_PKS,
    CR4_SMAP,
    CR4_SMEP,
    CR4_UMIP,
    EFER_NXE,
    RFLAGS_AC,
)
from gdbext.units import Word64
from gdbext.x86.access import fault_of, predict_fault
from gdbext.x86.fault import Report, access_of, explain
from gdbext.x86.protections import describe_cpu
from gdbext.x86.walk import Outcome, entries_with_rights, walk

from .guest import CR0, Guest, cpu

P, W, U, PS, NX = 1, 2, 4, 0x80, 1 << 63
LINK = P | W | U
PRESENT, WRITE, USER, RSVD, FETCH, KEY = 1, 2, 4, 8, 0x10, 0x20
"""Bits of an error code."""


def page(leaf=0x5000 | LINK, *, pml4e=0x2000 | LINK, pde=0x4000 | LINK):
    guest = Guest()
    guest.entries(0x1000, [pml4e])
    guest.entries(0x2000, [0x3000 | LINK])
    guest.entries(0x3000, [pde])
    guest.entries(0x4000, [leaf])
    return guest


NO_WP = CR0 & ~CR0_WP
FLAT = "read write execute"
# Entry bits of the leaf, control registers, and what is granted: to the supervisor, to the user.
GRANTED = [
    (P | W | U, {}, FLAT, FLAT),
    (P | W, {}, FLAT, ""),
    (P | U, {}, "read execute", "read execute"),
    (P, {}, "read execute", ""),
    (P, {"cr0": NO_WP}, FLAT, ""),
    (P | U, {"cr0": NO_WP}, FLAT, "read execute"),
    (P | W | U | NX, {}, "read write", "read write"),
    (P | W | NX, {}, "read write", ""),
    (P | W | U, {"cr4": CR4_SMEP}, "read write", FLAT),
    (P | W, {"cr4": CR4_SMEP}, FLAT, ""),
    (P | W | U, {"cr4": CR4_SMAP}, "execute", FLAT),
    (P | W, {"cr4": CR4_SMAP}, FLAT, ""),
    (P | W | U, {"cr4": CR4_SMAP, "rflags": RFLAGS_AC}, FLAT, FLAT),
    (P | U, {"cr4": CR4_SMAP, "rflags": RFLAGS_AC}, "read execute", "read execute"),
    (P | U, {"cr4": CR4_SMAP, "cr0": NO_WP}, "execute", "read execute"),
    (P | W | U, {"cr4": CR4_SMEP | CR4_SMAP}, "", FLAT),
    # Keys: of key 5, bit 10 of PKRU denies accesses and bit 11 writes.
    (P | W | U | 5 << 59, {"cr4": CR4_PKE, "pkru": 1 << 10}, "execute", "execute"),
    (P | W | U | 5 << 59, {"cr4": CR4_PKE, "pkru": 1 << 11}, "read execute", "read execute"),
    (P | W | U | 5 << 59, {"cr4": CR4_PKE, "pkru": 1 << 11, "cr0": NO_WP}, FLAT, "read execute"),
    (P | W | U | 5 << 59, {"cr4": CR4_PKE, "pkru": 1 << 10, "cr0": NO_WP}, "execute", "execute"),
    (P | W | U | 5 << 59, {"cr4": CR4_PKE, "pkru": 1 << 9}, FLAT, FLAT),
    (P | W | U | 5 << 59, {"cr4": CR4_PKE, "pkru": 1 << 12}, FLAT, FLAT),
    (P | W | U | 5 << 59, {"pkru": 3 << 10}, FLAT, FLAT),
    (P | W | 5 << 59, {"cr4": CR4_PKE, "pkru": 3 << 10}, FLAT, ""),
    (P | W | U | 15 << 59, {"cr4": CR4_PKE, "pkru": 1 << 30}, "execute", "execute"),
]


def processor(registers):
    return cpu(**{name: Word64(value) if name in ("pkru", "rflags") else value for name, value in registers.items()})


@pytest.mark.parametrize(("leaf", "registers", "supervisor", "user"), GRANTED)
def test_what_is_granted(leaf, registers, supervisor, user):
    guest, state = page(0x5000 | leaf), processor(registers)
    found = walk(guest.memory, state, 0)
    for access, (who, granted) in product(FLAT.split(), [(False, supervisor), (True, user)]):
        wanted = access in granted.split()
        assert getattr(found.user if who else found.supervisor, access) is wanted, (access, who)
        assert (predict_fault(guest.memory, state, 0, access, user=who) is None) is wanted, (access, who)


# What is there, registers, access, by the user, and the error code.
CODES = [
    ({"leaf": 0}, {}, "read", False, 0),
    ({"leaf": 0}, {}, "write", False, WRITE),
    ({"leaf": 0}, {}, "read", True, USER),
    ({"leaf": 0}, {}, "write", True, WRITE | USER),
    ({"leaf": 0}, {}, "execute", False, FETCH),
    ({"leaf": 0}, {}, "execute", True, FETCH | USER),
    ({"leaf": 0}, {"efer": 0x500}, "execute", False, 0),  # the processor tells a fetch with NXE or SMEP alone
    ({"leaf": 0}, {"efer": 0x500, "cr4": CR4_SMEP}, "execute", False, FETCH),
    ({"leaf": 0}, {"efer": 0x500, "cr4": CR4_SMAP}, "execute", False, 0),
    ({"pml4e": 0x2000 | LINK | PS}, {}, "read", False, PRESENT | RSVD),
    ({"pml4e": 0x2000 | LINK | PS}, {}, "write", True, PRESENT | RSVD | WRITE | USER),
    ({"leaf": 0x5000 | P}, {}, "write", False, PRESENT | WRITE),
    ({"leaf": 0x5000 | P}, {}, "read", True, PRESENT | USER),
    ({"leaf": 0x5000 | P | W | U | NX}, {}, "execute", True, PRESENT | USER | FETCH),
    ({}, {"cr4": CR4_SMEP}, "execute", False, PRESENT | FETCH),
    ({}, {"cr4": CR4_SMAP}, "read", False, PRESENT),
    ({"leaf": 0x5000 | LINK | 1 << 59}, {"cr4": CR4_PKE, "pkru": 4}, "read", True, PRESENT | USER | KEY),
    ({"leaf": 0x5000 | LINK | 1 << 59}, {"cr4": CR4_PKE, "pkru": 8}, "write", True, PRESENT | WRITE | USER | KEY),
    ({"leaf": 0x5000 | P | U | 1 << 59}, {"cr4": CR4_PKE, "pkru": 8}, "write", True, PRESENT | WRITE | USER | KEY),
    ({"leaf": 0x5000 | P | U | 1 << 59}, {"cr4": CR4_PKE, "pkru": 0}, "write", True, PRESENT | WRITE | USER),
    ({"leaf": 0x5000 | LINK | NX | 1 << 59}, {"cr4": CR4_PKE, "pkru": 12}, "execute", True, PRESENT | USER | FETCH),
]


@pytest.mark.parametrize(("entries", "registers", "access", "user", "code"), CODES)
def test_error_codes(entries, registers, access, user, code):
    assert predict_fault(page(**entries).memory, processor(registers), 0, access, user=user) == code


def test_a_fetch_shows_with_nx_only_where_entries_have_64_bits():
    """Without PAE there is no NX bit, whatever EFER.NXE says: only SMEP makes the processor tell a fetch."""
    narrow = cpu("32-bit", efer=EFER_NXE)
    assert predict_fault(Guest().memory, narrow, 0, "execute", user=False) == 0
    assert predict_fault(Guest().memory, cpu("32-bit", cr4=CR4_SMEP), 0, "execute", user=False) == FETCH
    assert predict_fault(Guest().memory, cpu("pae"), 0, "execute", user=True) == FETCH | USER


def test_what_is_no_page_fault():
    memory = page(pde=0x7F_FFFF_F000 | LINK).memory
    assert predict_fault(memory, cpu(), 1 << 47, "read", user=False) == "gp"
    assert predict_fault(memory, cpu("32-bit"), 1 << 32, "read", user=False) == "unknown"
    assert predict_fault(memory, cpu(), 0, "read", user=False) == "unknown"
    assert predict_fault(memory, cpu(cr0=1), 0x1234, "write", user=True) is None
    assert fault_of(cpu(), walk(memory, cpu(), 1 << 47), "read", user=True) == "gp"


def test_without_paging_nothing_carries_rights():
    assert entries_with_rights(cpu(cr0=1), walk(page().memory, cpu(), 0)) == ()
    guest = Guest()
    guest.entry(0x1000, 0, 0x2000 | P)
    guest.entry(0x2000, 0, LINK | PS)
    found = walk(guest.memory, cpu("pae"), 0)
    assert [step.level for step in entries_with_rights(cpu("pae"), found)] == [2]


# Faults


def report(code, *, flags=None, fetch=False):
    return Report(code, flags, fetch, "by hand")


@pytest.mark.parametrize(
    ("code", "fetch", "access", "user"),
    [
        (0, False, "read", False),
        (PRESENT, False, "read", False),
        (WRITE, False, "write", False),
        (USER, False, "read", True),
        (FETCH, False, "execute", False),
        (0, True, "execute", False),
        (FETCH | USER, False, "execute", True),
        (WRITE | USER, True, "write", True),
        (None, False, "read", False),
    ],
)
def test_what_an_error_code_says_was_tried(code, fetch, access, user):
    assert access_of(report(code, fetch=fetch)) == (access, user)


# Entries, registers, error code; what was tried, words of the verdict, and the entry to blame.
LEAF, PDE, PML4E = 0x4000, 0x3000, 0x1000
FAULTS = [
    ({"leaf": 0}, {}, WRITE | USER, "user-mode write", "hit an unmapped page", LEAF),
    ({"pde": 0}, {}, 0, "supervisor read", "hit an unmapped page", PDE),
    ({"pml4e": 0x2000 | LINK | PS}, {}, RSVD, "supervisor read", "hit a malformed entry", PML4E),
    ({"pde": 0x4000 | P | W}, {}, PRESENT | USER, "user-mode read", "a supervisor-only page", PDE),
    ({"leaf": 0x5000 | P | W}, {}, PRESENT | USER, "user-mode read", "a supervisor-only page", LEAF),
    ({"pde": 0x4000 | P | U}, {}, PRESENT | WRITE, "supervisor write", "(CR0.WP is set)", PDE),
    ({"leaf": 0x5000 | P | U}, {}, PRESENT | WRITE | USER, "user-mode write", "a read-only page: W", LEAF),
    ({"leaf": 0x5000 | LINK | NX}, {}, PRESENT | FETCH, "supervisor fetch", "not executable", LEAF),
    ({"pde": 0x4000 | LINK | NX}, {}, PRESENT | FETCH | USER, "user-mode fetch", "not executable", PDE),
    ({}, {"cr4": CR4_SMEP}, PRESENT | FETCH, "supervisor fetch", "CR4.SMEP forbids", LEAF),
    ({}, {"cr4": CR4_SMAP}, PRESENT, "supervisor read", "CR4.SMAP forbids", LEAF),
    ({"leaf": 0x5000 | LINK | 1 << 59}, {"cr4": CR4_PKE, "pkru": 4}, PRESENT | USER | KEY, "user-mode read",
     "protection key forbids", LEAF),
    ({"leaf": 0x5000 | LINK | 1 << 59}, {"cr4": CR4_PKE}, PRESENT | USER | KEY, "user-mode read",
     "does not report the key register", LEAF),
    ({}, {}, PRESENT | WRITE, "supervisor write", "the TLB entry was stale", None),
    ({}, {}, PRESENT, "supervisor read", "the fault ('denied by access rights')", None),
    ({}, {}, PRESENT | RSVD, "supervisor read", "the fault ('reserved bit set')", None),
    ({}, {}, WRITE, "supervisor write", "the page was not present at the fault", None),
    ({"leaf": 0}, {}, PRESENT, "supervisor read", "says 'denied by access rights'", LEAF),
    ({"leaf": 0}, {}, PRESENT | KEY, "supervisor read", "says 'denied by a protection key'", LEAF),
    ({"leaf": 0}, {}, RSVD, "supervisor read", "says 'reserved bit set'", LEAF),
    ({"leaf": 0x5000 | P}, {}, WRITE, "supervisor write", "says 'not present'", LEAF),
    ({}, {}, 1 << 6, "supervisor read", "was not present at the fault", None),
    ({}, {}, 1 << 7, "supervisor read", "0x80 is not a page-fault error code: unknown bits 0x80", None),
    ({}, {}, 1 << 14 | PRESENT, "supervisor read", "0x4001 is not a page-fault error code: unknown bits 0x4000", None),
    ({"pde": 0x7F_FFFF_F000 | LINK}, {}, 0, "supervisor read", "through a table that is not RAM", PDE),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "registers", "code", "access", "words", "blame"), FAULTS)
def test_verdicts_on_faults(entries, registers, code, access, words, blame):
    fault = explain(page(**entries).memory, processor(registers), 0, report(code))
    assert fault.access == access
    assert words in fault.verdict
    assert fault.blame == blame
    assert fault.error_code == code


@pytest.mark.parametrize("bit", range(3, 17))
def test_bits_that_an_error_code_may_have(bit):
    """Bits 5:0, 6 (shadow stack) and 15 (SGX); another makes it no error code (SDM vol. 3A, 4.7)."""
    fault = explain(page(leaf=0).memory, cpu(), 0, report(1 << bit))
    assert fault.blame == (LEAF if bit in (3, 4, 5, 6, 15) else None)


# Entries, registers, the code that they give now, and one with which the tables must have changed.
CHANGED = [
    ({"leaf": 0x5000 | P | U, "pde": 0x4000 | P | W}, {}, PRESENT | WRITE, WRITE, LEAF),
    ({"leaf": 0x5000 | P | U, "pde": 0x4000 | P | W}, {}, PRESENT | WRITE | USER, WRITE | USER, PDE),
    ({"leaf": 0x5000 | P | U}, {}, PRESENT | WRITE | USER, PRESENT | WRITE | USER | KEY, LEAF),
    ({"leaf": 0x5000 | P | U}, {}, PRESENT | WRITE | USER, PRESENT | WRITE | USER | RSVD, LEAF),
    ({"leaf": 0}, {}, WRITE, PRESENT | WRITE, LEAF),
    ({"leaf": 0x5000 | LINK | 1 << 59}, {"cr4": CR4_PKE, "pkru": 4}, PRESENT | KEY, PRESENT, LEAF),
]


@pytest.mark.parametrize(("entries", "registers", "now", "then", "blame"), CHANGED)
def test_tables_that_have_changed_are_told_from_those_that_have_not(entries, registers, now, then, blame):
    """What is wrong now is told in both cases; with another error code something else comes before it."""
    guest, state = page(**entries), processor(registers)
    same, changed = (explain(guest.memory, state, 0, report(code)) for code in (now, then))
    assert (same.blame, changed.blame) == (blame, blame)
    assert changed.verdict.endswith(same.verdict)
    assert len(changed.verdict) > len(same.verdict)


def test_without_wp_a_supervisors_write_is_not_denied_by_w():
    """Then it is the key that denies it, and the leaf has the key."""
    guest = page(0x5000 | LINK | 1 << 59, pde=0x4000 | P | U)
    for cr0, blame in ((CR0, PDE), (NO_WP, LEAF)):
        state = processor({"cr0": cr0, "cr4": CR4_PKE, "pkru": 4})
        assert explain(guest.memory, state, 0, report(PRESENT | WRITE | KEY)).blame == blame


def test_flags_of_the_access_count_not_those_of_the_handler():
    guest, state = page(), cpu(cr4=CR4_SMAP)
    then = explain(guest.memory, state, 0, report(PRESENT, flags=RFLAGS_AC))
    assert "TLB entry was stale" in then.verdict
    handler = replace(state, rflags=Word64(RFLAGS_AC))
    assert "CR4.SMAP forbids" in explain(guest.memory, handler, 0, report(PRESENT, flags=2)).verdict


def test_a_fault_without_an_error_code():
    there = explain(page().memory, cpu(), 0, report(None))
    assert (there.access, there.error_code, there.blame) == (None, None, None)
    assert "supervisor rwx, user rwx" in there.verdict
    absent = explain(page(leaf=0).memory, cpu(), 0, report(None))
    assert (absent.access, absent.blame) == (None, LEAF)
    assert "any access fails" in absent.verdict
    nowhere = explain(page().memory, cpu(), 1 << 47, report(0))
    assert "this was not a page fault" in nowhere.verdict
    assert nowhere.blame is None


# What takes rights away


@pytest.mark.parametrize(
    ("entries", "registers", "limits"),
    [
        ({}, {}, []),
        ({"leaf": 0x5000 | P | U}, {}, ["not writable: W is clear in level 1 (0x4000)"]),
        ({"leaf": 0x5000 | P | U}, {"cr0": NO_WP},
         ["writable for the supervisor alone (CR0.WP is 0): W is clear in level 1 (0x4000)"]),
        ({"leaf": 0x5000 | P | W, "pde": 0x4000 | P | W}, {},
         ["closed to user mode: U is clear in level 2 (0x3000) and level 1 (0x4000)"]),
        ({"pml4e": 0x2000 | LINK | NX}, {}, ["not executable: NX is set in level 4 (0x1000)"]),
        ({}, {"cr4": CR4_SMEP}, ["the supervisor may not execute it: a user page, and CR4.SMEP is 1"]),
        ({"leaf": 0x5000 | P | W}, {"cr4": CR4_SMEP | CR4_SMAP},
         ["closed to user mode: U is clear in level 1 (0x4000)"]),
        ({}, {"cr4": CR4_SMAP},
         ["the supervisor may not touch it: a user page, CR4.SMAP is 1 and RFLAGS.AC is 0"]),
        ({}, {"cr4": CR4_SMAP, "rflags": RFLAGS_AC},
         ["the supervisor may touch it only because RFLAGS.AC is 1: a user page, and CR4.SMAP is 1"]),
    ],
)  # fmt: skip
def test_limits(entries, registers, limits):
    assert list(walk(page(**entries).memory, processor(registers), 0).limits) == limits


def test_every_entry_is_to_blame():
    guest = Guest()
    guest.entries(0x1000, [0x2000 | P])
    guest.entries(0x2000, [0x3000 | P])
    guest.entries(0x3000, [0x4000 | P])
    guest.entries(0x4000, [0x5000 | P])
    limits = walk(guest.memory, cpu(), 0).limits
    assert limits == ("not writable: W is clear in every entry", "closed to user mode: U is clear in every entry")


def test_doubts_about_keys():
    user, kernel = page(0x5000 | LINK | 3 << 59), page(0x5000 | P | W | 9 << 59)
    assert walk(user.memory, cpu(), 0).doubts == ()
    assert "protection key 3 applies" in walk(user.memory, cpu(cr4=CR4_PKE), 0).doubts[0]
    assert walk(user.memory, processor({"cr4": CR4_PKE, "pkru": 0}), 0).doubts == ()
    assert walk(user.memory, cpu(cr4=CR4_PKS), 0).doubts == ()
    assert walk(kernel.memory, cpu(cr4=CR4_PKE), 0).doubts == ()
    assert "supervisor key 9 applies" in walk(kernel.memory, cpu(cr4=CR4_PKS), 0).doubts[0]


def test_a_page_outside_ram_is_named():
    found = walk(page(0x7F_FFFF_F000 | LINK).memory, cpu(), 0x12)
    assert found.outcome is Outcome.MAPPED
    assert "physical 0x7ffffff012 is not RAM" in found.verdict
    assert "is not RAM" not in walk(page().memory, cpu(), 0).verdict
    assert "0x100000 is not RAM" in walk(Guest().memory, cpu(cr0=1), 0x100000).verdict
    assert "is not RAM" not in walk(Guest().memory, cpu(cr0=1), 0xFFFFF).verdict
    assert walk(Guest().memory, cpu(cr0=1), 1 << 32).outcome is Outcome.NON_CANONICAL
    assert walk(Guest().memory, cpu(cr0=1), 0xFFFF_FFFF).physical == 0xFFFF_FFFF


# The processor's own state


PROTECTIONS = {
    "WP": {"cr0": CR0_PG | CR0_WP | 1},
    "NX": {"efer": 0x500 | EFER_NXE},
    "SMEP": {"cr4": CR4_SMEP},
    "SMAP": {"cr4": CR4_SMAP},
    "UMIP": {"cr4": CR4_UMIP},
    "PKE": {"cr4": CR4_PKE},
    "PGE": {"cr4": CR4_PGE},
    "LA57": {"cr4": CR4_LA57},
    "PCID": {"cr4": CR4_PCIDE},
}


@pytest.mark.parametrize("name", PROTECTIONS)
def test_each_protection_alone(name):
    state = cpu(**{"cr0": CR0_PG | 1, "efer": 0x500, **PROTECTIONS[name]})
    assert {p.name for p in describe_cpu(state).protections if p.on} == {name}


def test_the_processor_in_its_own_terms():
    plain = describe_cpu(cpu(root=0x12_3456_7ABC, offered=frozenset({"smep"})))
    assert (plain.mode, plain.root, plain.address_bits, plain.pcid) == ("4-level", 0x12_3456_7000, 48, None)
    assert {p.name: p.offered for p in plain.protections} == {
        "WP": True, "NX": False, "SMEP": True, "SMAP": False, "UMIP": False, "PKE": False, "PGE": True,
        "LA57": False, "PCID": False,
    }  # fmt: skip
    assert describe_cpu(cpu(root=0x7ABC, cr4=CR4_PCIDE)).pcid == 0xABC
    assert {p.offered for p in describe_cpu(cpu()).protections} == {True, None}
    off = describe_cpu(cpu(cr0=1))
    assert (off.root, off.address_bits) == (None, 32)
    assert describe_cpu(cpu("5-level")).address_bits == 57
