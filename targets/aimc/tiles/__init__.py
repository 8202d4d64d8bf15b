"""The tile program: its instructions, how a lowered program becomes them, and its files."""
