"""Decisions that compare costs: where matrices run, how blocks share arrays, and the alternatives beside them."""
