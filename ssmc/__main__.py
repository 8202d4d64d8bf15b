"""``python -m ssmc`` and the console script; an interrupt while the command line loads is no traceback either."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Entry point."""
    try:
        from ssmc.cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    command_line()


if __name__ == "__main__":
    main()
