"""Small helpers for telling people what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MANY = 300


def did_you_mean(word: str, known: Iterable[str], what: str = "allowed here") -> str:
    """A mend: the nearest of what is known, else all of it when that is not too much to read."""
    options = sorted(set(known))
    # Comparing with thousands costs seconds where many words are wrong; people get first letters right.
    near = options if len(options) <= _MANY else [o for o in options if o[:1] == word[:1]][:_MANY]
    found = difflib.get_close_matches(word.lower(), near, n=1, cutoff=0.6)
    if found:
        return f"did you mean {found[0]!r}?"
    if not options:
        return f"{what}: none"
    more = f" and {len(options) - 12} more" if len(options) > 12 else ""
    return f"{what}: {', '.join(options[:12])}{more}"
