"""``python -m ssmc`` and the console script; an interrupt while the command line loads is no traceback either."""

import atexit
import gc
import sys

from ssmc.deferred import defer

INTERRUPTED = 130
#: Objects between two collections. Those of modules and of a graph live to the end: the default of 700 walks them again
#: and again, a tenth of the time of a compile.
COLLECTED_EVERY = 500_000


def main() -> None:
    """Entry point."""
    gc.set_threshold(COLLECTED_EVERY)
    atexit.register(gc.freeze)  # the process ends: no walk over all objects for what the system takes back anyway
    defer()
    try:
        from ssmc.cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    command_line()


if __name__ == "__main__":
    main()
