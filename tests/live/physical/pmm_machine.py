"""The reference kernel's eight physical managers, and a machine that boots again without a new gdb."""

from gdbext.headless import Session

MANAGERS = ("bitmap", "regions", "levels", "runs", "stack", "pages", "buddy", "tree")


class Machine(Session):
    """One kernel under one gdb, that comes to `kernel_ready` as often as it is asked to, after a reset each time."""

    def __init__(self, kernel, **options):
        super().__init__(kernel, **options)
        self.qemu.qmp("set-action", {"reboot": "reset"})
        self.execute("hbreak kernel_ready")
        self._told = 0
        self.cont()

    def reset(self):
        """Boot once more, from the machine's first instruction."""
        self._told = len(self.serial())
        self.qemu.qmp("system_reset")
        self.cont()

    def inject(self, fault):
        """Have the kernel break something: what its serial line says of it."""
        before = len(self.serial())
        self.execute(f"set var fault_request = {fault}")
        self.cont()
        # Once in a thousand times or more the guest stops again at the breakpoint that gdb was stepping off, and has
        # executed nothing (seen under QEMU 7.2 and 10): the kernel has not seen the request yet.
        if number(self, "fault_request"):
            self.cont()
        return self.serial()[before:]

    def told(self):
        """What this boot has printed on the serial port."""
        return self.serial()[self._told :]


def number(session, expression):
    return int(session.execute(f"output/d (long)({expression})").strip()) & ((1 << 64) - 1)


def skipped_of_pmm(answer):
    """What a check left out of the physical managers' rules."""
    return [(s["id"], s["why"]) for s in answer["skipped"] if s["id"].startswith("PMM")]
