"""Analog in-memory computing: hardware files, mapping, tile programs, cost and noise."""
