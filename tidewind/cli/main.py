"""The process of `tidewind`: how it begins and how it ends. Imports nothing that takes long, so that Ctrl-C is heeded
from the start."""

import os
import sys
from typing import TYPE_CHECKING

from tidewind.cli.interruption import end_at_once

if TYPE_CHECKING:
    from tidewind.cli.ports import Tools


def main() -> None:
    """The entry point of the package."""
    end_at_once()
    from tidewind.cli.application import execute

    try:
        code = execute(sys.argv[1:], _system_tools)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


def _system_tools() -> "Tools":
    from tidewind.cli.bootstrap import SystemTools

    return SystemTools()


if __name__ == "__main__":
    main()
