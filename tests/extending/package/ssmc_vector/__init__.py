"""A vector unit for ssmc: a pass, a target and a hardware preset."""

from pathlib import Path

TINY32 = Path(__file__).with_name("tiny32.toml")
