"""The command about the kernel's description."""

from gdbext.commands.record import Argument, Command, Value

COMMANDS = (
    Command(
        "memprofile",
        "Which profile describes the kernel, and does it fit?",
        "description",
        arguments=(
            Argument(
                "VERB",
                Value.WORD,
                "show the profile, check that every name resolves, or use another profile",
                False,
                ("show", "check", "use"),
            ),
            Argument("FILE", Value.PROFILE, "with use: a profile's path, or the name of a built-in one", False),
        ),
        details="""
Unless you choose one, gdbext uses gdbext.toml or NAME.toml next to the kernel's ELF file NAME.elf, or else a built-in
profile whose symbols the kernel has. Prints a line for each manager that the profile describes, for each record of who
owns frames, and for each problem: line of the file, expression, and the nearest name that exists. If managers have a
`when`, serves shows which of them is in use now. No running machine is needed; what depends on its memory is then
marked as not known.
check also counts the problems as errors ($_memcheck_errors; exit status 3 of scripts/run and gdbext open).
""",
    ),
)
