"""The one value that a query gives, against what is expected of it: what checks on databases share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Protocol

from drtests.errors import DrtestsError
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement

_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Expected(Protocol):
    """Options that say what a query has to give."""

    @property
    def value(self) -> int | float | str | None: ...

    @property
    def min(self) -> int | float | None: ...

    @property
    def max(self) -> int | float | None: ...


def expectations(expected: Expected) -> list[str]:
    """Names of those that are given."""
    return [name for name in ("value", "min", "max") if getattr(expected, name) is not None]


def as_seen(value: Any, expected: Expected, where: str, *, as_number: bool = False) -> dict[str, Any]:
    """`number` or `text`, for an observation: of text and bytes only a hash, since it is restored data.

    Text that is a number counts as one where a number is asked for: some
    databases give decimals so, some know no numbers. Raises DrtestsError for
    text that is none where `min` or `max` is expected.
    """
    seen: dict[str, Any] = {"number": None, "text": None}
    if value is None:
        return seen
    if isinstance(value, (int, float)):
        return seen | {"number": int(value) if isinstance(value, bool) else value}
    if as_number or isinstance(expected.value, (int, float)) or expected.min is not None or expected.max is not None:
        number = _number(value)
        if number is not None:
            return seen | {"number": number}
    if expected.min is not None or expected.max is not None:
        raise DrtestsError(
            f"the query on {where} gives {type(value).__name__}, and `min` and `max` need a number",
            where=where,
            mend="let the query return a number, e.g. with count(*) or CAST(... AS REAL)",
        )
    return seen | {"text": digest(value)}


def _number(value: Any) -> int | float | None:
    text = value.strip() if isinstance(value, str) else ""
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else None


def judge_value(expected: Expected, seen: Mapping[str, Any]) -> Judgement:
    """MISSED when there is no value, or another than expected."""
    number, text = seen["number"], seen["text"]
    if number is None and text is None:
        return Judgement(Verdict.MISSED, "the query gives no value")
    if expected.value is not None:
        same = text == digest(expected.value) if isinstance(expected.value, str) else number == expected.value
        if not same:
            given = "another text" if number is None else f"{number}"
            wanted = "" if isinstance(expected.value, str) else f", {expected.value} expected"
            return Judgement(Verdict.MISSED, f"the query gives {given}{wanted}")
    if expected.min is not None and number < expected.min:
        return Judgement(Verdict.MISSED, f"the query gives {number}, at least {expected.min} expected")
    if expected.max is not None and number > expected.max:
        return Judgement(Verdict.MISSED, f"the query gives {number}, at most {expected.max} expected")
    return Judgement(Verdict.MET, "the query gives what is expected" + ("" if number is None else f": {number}"))


def digest(value: Any) -> str:
    """SHA-256 in hex."""
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", errors="surrogatepass")
    return hashlib.sha256(data).hexdigest()
