"""Whole lines out of what comes in pieces."""

from __future__ import annotations

from drtests.protocols.host import LineSink

LONGEST = 1024 * 1024
"""Bytes after which a line is told although it has not ended."""


class Lines:
    """Fits where a child's output goes: called with a stream's name and what came, nothing at its end."""

    def __init__(self, sink: LineSink) -> None:
        self._sink = sink
        self._begun = {"stdout": bytearray(), "stderr": bytearray()}

    def __call__(self, name: str, data: bytes) -> None:
        line = self._begun[name]
        line += data
        if b"\n" in data:
            *lines, rest = line.split(b"\n")
            self._begun[name] = rest
            for one in lines:
                self._tell(name, one)
        elif line and (not data or len(line) > LONGEST):
            self._begun[name] = bytearray()
            self._tell(name, line)

    def _tell(self, name: str, line: bytearray) -> None:
        self._sink(name, text(line).rstrip("\r"))


def text(data: bytes | bytearray) -> str:
    """As UTF-8; bytes that are none are replaced."""
    return data.decode("utf-8", errors="replace")
