"""``python -m gdbext.headless``: the same as the ``gdbext`` script of the virtual environment."""

import sys

from gdbext.headless.cli import main

sys.exit(main())
