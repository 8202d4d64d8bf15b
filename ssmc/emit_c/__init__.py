"""A program as portable C99 text."""
