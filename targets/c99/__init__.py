"""Target ``c``: portable C99 of an integer program, ``stdint.h`` only."""
