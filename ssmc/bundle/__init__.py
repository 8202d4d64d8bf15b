"""Compile, save, load, compare, and hold against a baseline."""
