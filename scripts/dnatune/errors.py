"""Mistakes of a user, said in one sentence: what was found, what was expected, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """A mistake in the input or the configuration. Its text is one sentence shown without traceback."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known name closest to ``name``, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def first_ten(ids: Sequence[str]) -> str:
    """Return the first ten of ``ids`` as a list in words, with how many more there are."""
    shown = ", ".join(str(i) for i in ids[:10])
    rest = len(ids) - 10
    return f"{shown} and {rest} more" if rest > 0 else shown
