"""Random mappings: `python -m tests.targets.aimc.fuzz --minutes 5`. 0 differences or a case."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, given, settings

from tests.targets.aimc.mappings import Mapping, check, mappings


def main() -> int:
    """Fuzz, and print what was covered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    end = time.monotonic() + 60 * parser.parse_args().minutes
    found: Counter[str] = Counter()

    @settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mappings())
    def batch(mapping: Mapping) -> None:
        if time.monotonic() < end:
            found.update({"programs": 1} | check(mapping))

    while time.monotonic() < end:
        batch()
        print(dict(sorted(found.items())), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
