"""The hardware file and what follows from it alone: structure, published laws of converters and devices, checks."""
