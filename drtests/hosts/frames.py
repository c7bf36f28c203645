"""What both ends of a connection to a host speak: a header in JSON, and bytes.

A frame is the length of its header and of its bytes (4 octets each, the most significant first), the header, the
bytes. Also runs on hosts that are reached over SSH: nothing but the standard library of Python 3.7.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from typing import Any

VERSION = 1
PIECE = 128 * 1024
"""Bytes of a stream that go into one frame."""
BEATS = 3
"""Keepalives without a word after which a connection counts as lost, at both ends."""
WINDOW = 16
"""Frames of a stream that may be under way before the other end has taken one."""
_LENGTHS = struct.Struct(">II")
_LARGEST = 256 * 1024 * 1024


class Garbled(Exception):
    """What came is no frame."""


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """A frame. Names that are not UTF-8 survive as lone surrogates."""
    head = json.dumps(header, separators=(",", ":")).encode("ascii")
    return _LENGTHS.pack(len(head), len(payload)) + head + payload


class Unpacker:
    """Frames out of what comes in pieces."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The frames that are whole now. Raises Garbled."""
        self._begun += data
        while len(self._begun) >= _LENGTHS.size:
            head, body = _LENGTHS.unpack_from(self._begun)
            if head > _LARGEST or body > _LARGEST:
                raise Garbled(f"a frame of {head} and {body} bytes")
            began, end = _LENGTHS.size + head, _LENGTHS.size + head + body
            if len(self._begun) < end:
                return
            try:
                header = json.loads(self._begun[_LENGTHS.size : began].decode("ascii"))
            except ValueError:
                raise Garbled("a header that is no JSON") from None
            payload = bytes(self._begun[began:end])
            del self._begun[:end]
            yield header, payload


class Window:
    """Keeps one end of a stream from running far ahead of the other."""

    def __init__(self) -> None:
        self._left = WINDOW
        self._closed = False
        self._changed = threading.Condition()

    def take(self) -> bool:
        """Waits until a frame may be sent; false when none may be sent any more."""
        with self._changed:
            while not self._left and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._left -= 1
            return True

    def give(self, frames: int) -> None:
        """The other end has taken so many."""
        with self._changed:
            self._left += frames
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody waits here any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
