"""The command about the kernel's description."""

from gdbext.commands.record import Argument, Command, Value

COMMANDS = (
    Command(
        "memprofile",
        "Which description of the kernel is in use, and does it fit?",
        "description",
        arguments=(
            Argument(
                "VERB",
                Value.WORD,
                "show it, check that every name resolves, or use another one",
                False,
                ("show", "check", "use"),
            ),
            Argument("FILE", Value.PROFILE, "with use: a profile's path, or the name of a built-in one", False),
        ),
        details="""
Without a choice, gdbext takes gdbext.toml or NAME.toml beside the kernel's ELF file NAME.elf, else a built-in profile
whose names the kernel has. A line is printed for each manager that the profile describes, for what tells who has
frames, and for each problem: the file's line, the expression, and the nearest name that exists. Where managers have
`when`, serves says which is in use now. No machine is needed: what only its memory tells is left out, and said to be.
check also counts the problems as errors ($_memcheck_errors; exit status 3 of scripts/run and gdbext open).
""",
    ),
)
