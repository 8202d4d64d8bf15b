"""``python -m ssmc``."""

from ssmc.cli import main

if __name__ == "__main__":
    main()
