"""``--state IN:OUT``, of models that take one step."""

from __future__ import annotations

STATE_HELP = "A state of a model that takes one step: names of its input and its next value. Default: by name or shape."


def named_states(pairs: tuple[str, ...]) -> dict[str, str]:
    """The names of inputs, with those of the outputs that are their next values.

    Raises:
        UsageError: SSMC-U15 where a pair has no colon, or names an input twice.
    """
    from ssmc.errors import UsageError

    found: dict[str, str] = {}
    for pair in pairs:
        start, colon, end = pair.rpartition(":")
        if not colon or not start or not end or start in found:
            fact = f"'{pair}' is no new pair of names"
            raise UsageError("SSMC-U15", fact, "write IN:OUT, once for every state", "--state")
        found[start] = end
    return found
