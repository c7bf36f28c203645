"""Trying again: only questions that are safe to ask twice, and only when asking again can help."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from drtests.errors import DrtestsError
from drtests.protocols.clock import Clock

T = TypeVar("T")


def ask(question: Callable[[], T], clock: Clock, attempts: int = 3) -> T:
    """The answer, or the last error. Errors that are `permanent` are raised at once."""
    retrying = Retrying(
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=1, max=10),
        retry=retry_if_exception(lambda error: isinstance(error, DrtestsError) and not error.permanent),
        sleep=clock.sleep,
        reraise=True,
    )
    return retrying(question)
