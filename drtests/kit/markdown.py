"""Markdown by small functions, each of which keeps text what it is: text."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&])")


def text(value: object) -> str:
    """On one line, with nothing in it that Markdown would take for itself."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def code(value: str) -> str:
    """Inline code; `|` is escaped, as it may stand in a table."""
    plain = " ".join(value.split())
    fence = "`" * (_longest(plain) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}".replace("|", "\\|") if plain else ""


def block(lines: Sequence[str], language: str = "") -> str:
    """A fenced block; the fence is longer than any in it."""
    body = "\n".join(lines)
    fence = "`" * max(3, _longest(body) + 1)
    return f"{fence}{language}\n{body}\n{fence}\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; nothing at all without rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell or ' ' for cell in line)} |\n" for line in lines)


def _longest(value: str) -> int:
    return max((len(run) for run in re.findall("`+", value)), default=0)
