"""What a foreign graph computes: the axes of its values, its recurrences as affine maps."""
