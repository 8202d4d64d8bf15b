"""The integer target and its reference executor."""
