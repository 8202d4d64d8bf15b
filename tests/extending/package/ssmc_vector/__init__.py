"""A vector unit for ssmc: a pass, a target, a hardware preset and an adapter of a torch layer."""

from pathlib import Path

TINY32 = Path(__file__).with_name("tiny32.toml")
