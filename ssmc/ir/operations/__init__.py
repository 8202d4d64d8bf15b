"""The operations of the integer program, one file each."""
