"""``python -m ssmc`` and the console script; an interrupt while the command line loads is no traceback either."""

import atexit
import ctypes
import gc
import sys

from ssmc.deferred import defer

INTERRUPTED = 130
#: Objects between two collections. Those of modules and of a graph live to the end: the default of 700 walks them again
#: and again, a tenth of the time of a compile.
COLLECTED_EVERY = 500_000
#: Options of glibc's mallopt: blocks of up to 8 MiB are cut from the heap, of which 64 MiB are kept when free. As it
#: is, arrays of a hundred kilobytes are mapped anew and their pages cleared, a twentieth of the time of a compile.
KEPT_MEMORY = {"M_MMAP_THRESHOLD": (-3, 8 << 20), "M_TRIM_THRESHOLD": (-1, 64 << 20)}


def main() -> None:
    """Entry point."""
    gc.set_threshold(COLLECTED_EVERY)
    keep_memory()
    atexit.register(gc.freeze)  # the process ends: no walk over all objects for what the system takes back anyway
    defer()
    try:
        from ssmc.cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    command_line()


def keep_memory() -> None:
    """Set `KEPT_MEMORY`, where the C library has such options."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in KEPT_MEMORY.values():
            mallopt(option, value)


if __name__ == "__main__":
    main()
