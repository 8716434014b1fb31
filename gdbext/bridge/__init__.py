"""The only place that knows gdb: its registers, memory, symbols and expressions, and its commands.

`load` is what `source gdbext` calls.
"""

from gdbext.bridge.install import load

__all__ = ["load"]
