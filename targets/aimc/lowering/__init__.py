"""How each matrix is converted: slices, row splits, partial sums, and how blocks share arrays."""
