"""Every source of physical memory gives the same results, refuses what is not RAM, and fails in one line."""

import hashlib
import json
import os
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from gdbext.headless import CommandFailed, Session
from gdbext.headless.qemu import Qemu

from ..offline import opened
from . import proxy, test_harmless

COMMANDS = [
    "vmwalk 0xffff800000001000",
    "vmwalk 0x1000",
    "vmwalk 0x800000000000",
    "vmwalk &pmm",
    "vmwalk kernel_heap.start",
    "vmmap",
    "vmmap -raw",
    "vmmap -range 0xffffffff80000000 0xffffffff81000000",
    "pmmstat",
    "pmmdump",
    "heapstat",
    "heaplist",
    "heapcheck",
    "memcheck",
]
NAMES = ["shared", "process", "remote", "direct map", "dump"]


@pytest.fixture
def behind(boot, monkeypatch):
    """Boots a machine whose stub is behind a proxy with this rule; the proxy is `session.proxy`."""

    def start(rule, **options):
        proxies = []

        def socket_path(qemu):
            if not proxies:
                proxies.append(proxy.StubProxy(qemu.directory / "proxy", qemu.directory / "gdb", rule))
            return qemu.directory / "proxy"

        with monkeypatch.context() as patch:
            patch.setattr(Qemu, "gdb_socket", property(socket_path))
            session = boot(**options)
        session.proxy = proxies[0]
        return session

    return start


def memfd(share):
    backend = f"memory-backend-memfd,id=m,size=32M,share={share}"
    return {"shared": False, "qemu_args": ("-object", backend, "-machine", "memory-backend=m")}


def start(behind, source, **options):
    """A machine that can be read through this source and not through a better one."""
    options = {"memory": "32M", **options}
    match source:
        case "shared":
            return behind(proxy.transparent, **options)
        case "process":
            return behind(proxy.transparent, **options, shared=False)
        case "memfd":
            return behind(proxy.transparent, **options, **memfd("on"))
        case "private memfd":
            return behind(proxy.transparent, **options, **memfd("off"))
        case "remote":
            return behind(proxy.without_host_addresses, **options, shared=False)
        case "direct map":
            return behind(proxy.virtual_only, **options)
        case "direct map with a monitor":
            return behind(proxy.without_physical_mode, **options)
    raise AssertionError(source)


SOURCES = ["shared", "process", "memfd", "private memfd", "remote", "direct map", "direct map with a monitor"]
USED = {"memfd": "process", "private memfd": "process", "direct map with a monitor": "direct map"}


def listed(session):
    return {source["name"]: source for source in session.command("memsource")["sources"]}


def answers(ask):
    return {command: ask(command) for command in COMMANDS}


@pytest.fixture(scope="module")
def told(gcc_kernel):
    """The results of a machine with a shared file: the reference for all other sources."""
    with Session(gcc_kernel, memory="32M") as session:
        session.run_to("kernel_ready")
        yield answers(lambda command: session.command(*command.split()))


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_answers_alike(behind, told, source):
    session = start(behind, source)
    sources = listed(session)
    assert list(sources) == NAMES
    assert [name for name in NAMES if sources[name]["status"] == "in use"] == [USED.get(source, source)]
    assert all(s["status"] in {"in use", "not usable", "not needed"} and s["why"] for s in sources.values())
    ours = answers(lambda command: session.command(*command.split()))
    for command in COMMANDS:
        assert ours[command] == told[command], command
    # The stub is back in its virtual mode.
    assert session.execute("output/x kernel_heap.start").strip().startswith("0xffffc000")


def ram(session):
    return hashlib.sha256(session.read_physical(0, 32 << 20)).hexdigest()


def registers(session):
    return session.monitor("info registers"), session.execute("info registers")


@pytest.mark.parametrize("source", SOURCES)
def test_no_command_changes_the_guest(behind, source):
    session = start(behind, source)
    before = ram(session), registers(session)
    for command in [*test_harmless.COMMANDS, "memsource"]:
        session.text(command)
        assert (ram(session), registers(session)) == before, command


def test_reasons_are_true(behind):
    process = listed(start(behind, "process"))
    assert "memory-backend-file" in process["shared"]["why"]
    assert re.search(r"/proc/\d+/mem", process["process"]["why"])
    mapped = listed(start(behind, "memfd"))
    assert "mapped" in mapped["process"]["why"]
    remote = listed(start(behind, "remote"))
    assert "gpa2hva" in remote["process"]["why"]
    bare = listed(start(behind, "direct map"))
    assert "no physical memory mode" in bare["remote"]["why"]
    assert "0xffff800000000000" in bare["direct map"]["why"]
    assert "boot map" in bare["direct map"]["why"]


def test_a_process_that_is_not_the_guests_is_not_read(behind):
    """QEMU's monitor names a thread of another process: of this very test."""

    def lying(packet):
        if proxy.monitor_command(packet) == "info cpus":
            return f"* CPU #0: thread_id={os.getpid()}\r\n".encode().hex().encode()
        return None

    sources = listed(behind(lying, memory="32M", shared=False))
    assert sources["process"]["status"] == "not usable"
    assert "does not hold the guest's RAM" in sources["process"]["why"]
    assert sources["remote"]["status"] == "in use"


def test_a_process_with_other_contents_is_not_read(behind):
    """The process that is named does have memory at the address that is named, but it is not the guest's."""
    ballast = np.full(64 << 20, 0x5A, dtype=np.uint8)

    def lying(packet):
        asked = proxy.monitor_command(packet)
        if asked == "info cpus":
            return f"* CPU #0: thread_id={os.getpid()}\r\n".encode().hex().encode()
        if asked.startswith("gpa2hva"):
            answer = f"Host virtual address for 0x0 (pc.ram) is {ballast.ctypes.data:#x}\r\n"
            return answer.encode().hex().encode()
        return None

    sources = listed(behind(lying, memory="32M", shared=False))
    assert sources["process"]["status"] == "not usable"
    assert "compared frames differ" in sources["process"]["why"]
    assert sources["remote"]["status"] == "in use"


# What is not RAM


@pytest.mark.parametrize("source", ["process", "memfd", "remote", "direct map", "direct map with a monitor"])
def test_what_is_not_ram_is_refused(behind, source):
    session = start(behind, source)
    leaf = session.command("vmwalk", "kernel_heap.start")["steps"][-1]
    for wrong in (0x7F_FFFF_F000, 0xFEE0_0000, 0xA_0000):
        entry = int(leaf["value"], 16) & ~0xFFFFFFFFFF000 | wrong
        session.execute(f"set var *(unsigned long *)(0xffff800000000000 + {leaf['entry_address']}) = {entry:#x}UL")
        assert f"{wrong:#x} is not RAM" in session.text("heapcheck")


def test_no_boot_map_makes_all_that_is_mapped_ram(behind, tmp_path):
    profile = tmp_path / "short.toml"
    profile.write_text('[kernel]\nname = "short"\n[address]\ndirect_map = 0xffff800000000000\n')
    session = start(behind, "direct map", profile=profile)
    assert "no boot_map" in listed(session)["direct map"]["why"]
    # The kernel maps the whole of RAM there, and nothing behind it.
    assert session.command("memsource")["ram"] <= 32 << 20
    assert session.command("vmwalk", "0xffff800000001000")["physical"] == "0x1000"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "set address.direct_map"),
        ("direct_map = 0xffff900000000000", "does not map the page tables' root"),
        ("direct_map = 0xffff800000001000", "does not map the page tables' root"),
    ],
)
def test_a_direct_map_that_is_none_is_not_used(behind, tmp_path, address, says):
    profile = tmp_path / "wrong.toml"
    profile.write_text(f'[kernel]\nname = "wrong"\n[address]\n{address}\n')
    session = start(behind, "direct map", profile=profile)
    reason = failure(session, "vmwalk 0x1000")
    assert says in reason
    assert "no physical memory mode" in reason


def test_no_direct_map_before_paging(behind):
    session = start(behind, "direct map", stop=None)
    assert "paging is off" in failure(session, "vmmap")


# Sources that fail half way


def failure(session, command):
    """The reason why a command fails, which is one line and no traceback."""
    with pytest.raises(CommandFailed) as caught:
        session.text(command)
    reason = caught.value.reason.strip()
    assert "\n" not in reason
    assert "Traceback" not in reason
    assert "Error occurred in Python" not in reason
    return reason


def mode(session):
    reply = re.search(r'received: "(.*)"', session.execute("maint packet qqemu.PhyMemMode"))
    assert reply
    return reply[1]


def failing(after, how):
    """A rule under which the memory reads after the first so many fail."""
    count = 0

    def rule(packet):
        nonlocal count
        if packet.startswith(b"m"):
            count += 1
            if count > after:
                return how()
        return proxy.without_host_addresses(packet)

    return rule


def drop():
    raise proxy.Drop


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_stub_that_refuses_half_way_is_back_in_its_mode(behind, after):
    session = start(behind, "remote")
    session.text("memsource")
    session.proxy.rule = failing(after, lambda: b"E14")
    assert "it replied E14" in failure(session, "heapcheck")
    assert "it replied E14" in failure(session, "vmmap")
    session.proxy.rule = proxy.without_host_addresses
    assert mode(session) == "0"
    assert session.command("memcheck")["findings"] == []


@pytest.mark.parametrize("at", [b"Qqemu.PhyMemMode:1", b"m", b"Qqemu.PhyMemMode:0"])
def test_an_interrupt_leaves_the_stub_in_its_mode(behind, at):
    session = start(behind, "remote")
    session.text("memsource")

    def rule(packet):
        if packet.startswith(at) and not interrupted:
            interrupted.append(packet)
            os.kill(session.gdb.process.pid, signal.SIGINT)
        return proxy.without_host_addresses(packet)

    interrupted = []
    session.proxy.rule = rule
    with pytest.raises(CommandFailed):
        session.text("vmmap")
    assert interrupted
    assert mode(session) == "0"
    assert session.command("memcheck")["findings"] == []


@pytest.mark.parametrize("at", [b"Qqemu.PhyMemMode:1", b"m", b"Qqemu.PhyMemMode:0"])
def test_an_interrupt_on_a_list_says_what_is_known_so_far(behind, at):
    session = start(behind, "remote", append="scenario=idle pmm=stack")
    session.text("memsource")

    def rule(packet):
        nodes[0] += packet.startswith(b"m") and packet.endswith(b",10")  # a node's two words
        if nodes[0] > 100 and packet.startswith(at) and not interrupted:
            interrupted.append(packet)
            os.kill(session.gdb.process.pid, signal.SIGINT)
        return proxy.without_host_addresses(packet)

    interrupted, nodes = [], [0]
    session.proxy.rule = rule
    told = failure(session, "pmmstat")
    assert interrupted
    if at == b"m":
        seen = re.search(r"^pmmstat: stopped: list isa of 'stack': (\d+) nodes read, .*, the last at 0xffff8", told)
        assert seen, told
        assert int(seen[1]) >= 99
    assert mode(session) == "0"
    assert session.command("memcheck")["findings"] == []


def test_following_a_list_keeps_the_stub_in_physical_mode(behind):
    session = start(behind, "remote", append="scenario=idle pmm=stack")
    session.proxy.seen.clear()
    (stack,) = session.command("pmmstat")["managers"]
    switches = sum(packet.startswith(b"Qqemu.PhyMemMode") for packet in session.proxy.seen)
    assert switches < stack["free"] / 10
    assert mode(session) == "0"


@pytest.mark.parametrize("source", ["remote", "direct map"])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_connection_that_breaks_half_way_is_one_line(behind, source, after):
    session = start(behind, source)
    session.text("memsource")
    session.proxy.rule = failing(after, drop)
    for _ in range(2):
        failure(session, "pmmstat")
    assert "there is no guest" in failure(session, "vmmap")
    assert session.execute("output 6 * 7") == "42"


@pytest.mark.parametrize("source", ["shared", "process", "memfd", "remote"])
@pytest.mark.parametrize("first", ["vmmap", "heapcheck", "vmwalk 0xffff800000001000", "memsource"])
def test_qemu_killed_between_commands(behind, source, first):
    session = start(behind, source)
    assert session.command("memcheck")["findings"] == []
    os.kill(session.qemu.pid, signal.SIGKILL)
    failure(session, first)
    assert "there is no guest" in failure(session, "vmmap")
    assert session.execute("output 6 * 7") == "42"


@pytest.mark.parametrize("source", ["process", "remote"])
def test_qemu_killed_during_a_command(behind, source):
    session = start(behind, source)
    session.text("memsource")

    def rule(packet):
        # The RAM map has been asked for; what comes next is the reading itself.
        if proxy.monitor_command(packet) == "info mtree -f":
            killer.append(1)
        if killer and packet.startswith(b"m"):
            os.kill(session.qemu.pid, signal.SIGKILL)
        return proxy.without_host_addresses(packet) if source == "remote" else None

    killer = []
    session.proxy.rule = rule
    if source == "process":  # it sends no packets that could tell when it reads
        session.execute("python import gdbext.x86.space as s, os, signal")
        session.execute("python run = s._Enumeration.run")
        kill = f"(os.kill({session.qemu.pid}, signal.SIGKILL), __import__('time').sleep(0.5), run(*a))[2]"
        session.execute(f"python s._Enumeration.run = lambda *a: {kill}")
        assert "has ended" in failure(session, "vmmap")
    else:
        assert "the connection to the guest is lost" in failure(session, "vmmap")
    failure(session, "heapcheck")
    assert session.execute("output 6 * 7") == "42"


# Dumps, outside gdb


@pytest.fixture(scope="module")
def dumps(gcc_kernel, tmp_path_factory):
    """One stopped machine in all its forms: dumps, images, and gdbext's results inside gdb."""
    directory = tmp_path_factory.mktemp("dumps")
    with Session(gcc_kernel, memory="32M") as session:
        session.run_to("kernel_ready")
        ask = {
            name: {"paging": name == "paging", "protocol": f"file:{directory / name}"} for name in ("plain", "paging")
        }
        ask["part"] = {"paging": False, "protocol": f"file:{directory / 'part'}", "begin": 0x100000, "length": 0x100000}
        ask["kdump"] = {"paging": False, "protocol": f"file:{directory / 'kdump'}", "format": "kdump-zlib"}
        for arguments in ask.values():
            session.qemu.qmp("dump-guest-memory", arguments)
        session.qemu.qmp("pmemsave", {"val": 0, "size": 32 << 20, "filename": str(directory / "raw")})
        (directory / "ram").write_bytes((session.qemu.directory / "ram").read_bytes())
        (directory / "printed").write_text(session.monitor("info registers"))
        cpu = session.command("memcpu")
        lines = [f"{name} = {cpu[name]}" for name in ("cr0", "cr3", "cr4", "efer")]
        lines.append("ram = [[0, 0xa0000], [0x100000, 0x1fe0000]]")
        (directory / "toml").write_text("\n".join(lines) + "\n")
        (directory / "json").write_text(json.dumps({name: cpu[name] for name in ("cr0", "cr3", "cr4", "efer")}))
        told = answers(lambda command: session.command(*command.split()))
        yield SimpleNamespace(files=directory, told=told, command=session.command)


@pytest.mark.parametrize(
    "how",
    [("plain",), ("paging",), ("plain", "printed"), ("raw", "printed"), ("raw", "toml"), ("ram", "json")],
    ids="-".join,
)
def test_a_dump_answers_as_the_machine_does(dumps, gcc_kernel, how):
    arguments = [dumps.files / how[0], "--elf", gcc_kernel]
    if len(how) > 1:
        arguments += ["--registers", dumps.files / how[1]]
    for command in COMMANDS:
        arguments += ["--", *command.split(), "-json"]
    done = opened(*arguments)
    for command, line in zip(COMMANDS, done.stdout.splitlines(), strict=True):
        assert json.loads(line) == dumps.told[command], command


def test_efer_is_said_to_be_guessed_unless_it_is_given(dumps):
    assert "NXE" in opened(dumps.files / "plain", "--", "memcpu").stderr
    assert "NXE" not in opened(dumps.files / "plain", "--registers", dumps.files / "printed", "--", "memcpu").stderr
    cpu = json.loads(opened(dumps.files / "plain", "--", "memcpu", "-json").stdout)
    assert cpu["efer"] == dumps.command("memcpu")["efer"]


def test_a_dump_says_where_memory_comes_from(dumps):
    told = json.loads(opened(dumps.files / "plain", "--", "memsource", "-json").stdout)
    assert [s["name"] for s in told["sources"]] == NAMES
    assert [s["status"] for s in told["sources"]] == ["not usable"] * 4 + ["in use"]


def test_what_a_dump_lacks_is_refused(dumps, gcc_kernel):
    text = opened(dumps.files / "part", "--elf", gcc_kernel, "--", "vmwalk 0xffff800000001000", "--", "heapstat").stdout
    assert "0xffff800000001000 is mapped to physical 0x1000" in text
    done = opened(dumps.files / "part", "--", "vmwalk", "*(long *)0xffff800000001000", expect=1)
    assert "0x1000 is not RAM" in done.stderr
    # The hole between 640 KiB and 1 MiB is none of the ranges given with the image.
    base = [dumps.files / "raw", "--registers", dumps.files / "toml"]
    assert "0xa0000 is not RAM" in opened(*base, "--", "vmwalk", "0x1000", "-root", "0xa0000").stdout


def test_expressions_know_symbols_and_registers(dumps, gcc_kernel):
    base = [dumps.files / "plain", "--elf", gcc_kernel]
    for ours, theirs in (("$pc", "$pc"), ("pmm.bits + 1", "pmm.bits + 1"), ("&kernel_heap.end", "&kernel_heap.end")):
        line = json.loads(opened(*base, "--", f"vmwalk {ours} -json").stdout)
        assert line == dumps.command("vmwalk", theirs)


def test_several_commands_and_the_exit_status(dumps, gcc_kernel):
    base = [dumps.files / "plain", "--elf", gcc_kernel]
    done = opened(*base, "--", "vmwalk", "nobody", "--", "frobnicate", "--", "memcpu", expect=1)
    assert "no symbol 'nobody'" in done.stderr
    assert "no command 'frobnicate'" in done.stderr
    assert "4-level" in done.stdout


def test_commands_from_standard_input(dumps, gcc_kernel):
    typed = "# a comment\n\nmemprofile use reference\ngdbext memprofile\nhelp vmwalk\nquit\nvmmap\n"
    text = opened(dumps.files / "plain", "--elf", gcc_kernel, typed=typed).stdout
    assert text.count("reference") >= 2
    assert "Usage: vmwalk" in text
    assert "mappings" not in text


def test_errors_in_a_dump_make_3(boot, gcc_kernel, tmp_path):
    session = boot(memory="16M")
    session.execute("set var pmm.used = 1")
    session.monitor(f"dump-guest-memory {tmp_path}/core")
    base = (tmp_path / "core", "--elf", gcc_kernel, "--profile", "reference", "--")
    assert "PMM01" in opened(*base, "pmmstat", "--", "vmwalk", "0", expect=3).stdout
    opened(*base, "pmmstat", "--", "vmwalk", "nobody", expect=1)
    opened(*base, "heapcheck", expect=0)


def test_output_goes_to_a_file(dumps, tmp_path):
    done = opened(dumps.files / "plain", "--", "vmwalk", "0xffff800000001000", "-json", "-output", tmp_path / "answer")
    assert done.stdout == ""
    assert json.loads((tmp_path / "answer").read_text()) == dumps.told["vmwalk 0xffff800000001000"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d, k: [d / "kdump"], "kdump-compressed"),
        (lambda d, k: [d / "raw"], "add --registers"),
        (lambda d, k: [k], "not a dump of an x86 machine"),
        (lambda d, k: [d / "nowhere"], "No such file"),
        (lambda d, k: [d / "plain", "--processor", "1"], "it has no processor 1"),
        (lambda d, k: [d / "plain", "--elf", d / "raw"], "not an ELF file"),
        (lambda d, k: [d / "plain", "--registers", d / "ram"], "cannot be read"),
        (lambda d, k: [d / "plain", "--profile", "nonsense"], "nonsense"),
    ],
)
def test_what_cannot_be_opened_is_one_line_and_2(dumps, gcc_kernel, make, says):
    done = opened(*make(dumps.files, gcc_kernel), "--", "vmmap", expect=2)
    last = [line for line in done.stderr.splitlines() if ": doubt: " not in line]
    assert len(last) == 1
    assert last[0].startswith("open: ")
    assert says in last[0]


def test_a_dump_that_is_cut_short_is_said_to_be(dumps, tmp_path):
    whole = (dumps.files / "plain").read_bytes()
    for size, says in ((len(whole) // 2, "truncated"), (100, "truncated"), (0, "empty")):
        (tmp_path / "cut").write_bytes(whole[:size])
        assert says in opened(tmp_path / "cut", "--", "vmmap", expect=2).stderr
