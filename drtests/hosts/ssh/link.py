"""Talks to the agent on a host: many requests at a time over one channel."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

from drtests.errors import HostError, HostUnreachable
from drtests.hosts.failure import Failure
from drtests.hosts.frames import BEATS, PIECE, Garbled, Unpacker, Window, pack
from drtests.model.units import format_duration

_CHUNK = 4 * PIECE
_END = 20.0
"""Seconds in which a request that was cancelled has to be gone: the host's own grace for what it ends, and some."""


class Channel(Protocol):
    """What is needed of a channel: that of paramiko, or anything that carries bytes both ways."""

    def recv(self, size: int, /) -> bytes: ...

    def recv_stderr_ready(self) -> bool: ...

    def recv_stderr(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...

    def settimeout(self, timeout: float | None, /) -> None: ...


Frame = tuple[dict[str, Any], bytes]


class Link:
    """One connection. When it is lost, `lost` says why, and every request raises HostUnreachable.

    `close` ends the connection; it is called once, from whichever thread finds it lost.
    """

    def __init__(self, channel: Channel, close: Callable[[], None], where: str, keepalive: float) -> None:
        self.lost = ""
        self._channel = channel
        self._close = close
        self._where = where
        self._keepalive = keepalive
        self._heard = time.monotonic()
        self._numbers = itertools.count(1)
        self._requests: dict[int, Asked] = {}
        self._turn = threading.Lock()
        self._sending = threading.Lock()
        self._over = threading.Event()
        self.hello: dict[str, Any] = {}
        self._greeted = threading.Event()
        channel.settimeout(keepalive)
        for work in (self._listen, self._beat):
            threading.Thread(target=work, name=f"drtests-ssh-{work.__name__.strip('_')}", daemon=True).start()

    def greet(self, timeout: float) -> dict[str, Any]:
        """What the agent says of itself."""
        self._greeted.wait(timeout)
        if not self.hello:
            self.lose("no answer")
            raise self.unreachable()
        return self.hello

    def ask(self, operation: str, /, **arguments: Any) -> Asked:
        """Begins a request. Raises HostUnreachable when the connection is lost."""
        number = next(self._numbers)
        asked = Asked(self, number, operation)
        with self._turn:
            if self.lost:
                raise self.unreachable()
            self._requests[number] = asked
        self.send({"id": number, "op": operation, "with": arguments})
        return asked

    def answer(self, operation: str, timeout: float, /, **arguments: Any) -> dict[str, Any]:
        """Of a request that is answered at once."""
        with self.ask(operation, **arguments) as asked:
            return asked.end(timeout)

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Raises HostUnreachable."""
        try:
            with self._sending:
                self._channel.sendall(pack(header, payload))
        except TimeoutError:
            # A part of the frame may be on its way: nothing can follow.
            self.lose(f"nothing could be sent for {format_duration(self._keepalive)}")
            raise self.unreachable() from None
        except (OSError, EOFError) as error:
            self.lose(str(error) or "it was closed")
            raise self.unreachable() from None

    def forget(self, number: int) -> None:
        with self._turn:
            self._requests.pop(number, None)

    def unreachable(self) -> HostUnreachable:
        return HostUnreachable(
            f"the connection to the host was lost: {self.lost}",
            where=self._where,
            mend="see whether the host is up and what lies between; what was started there was ended, or is ended "
            f"within {format_duration(BEATS * self._keepalive)}",
        )

    def lose(self, why: str) -> None:
        """The end of it: wakes everybody who waits."""
        with self._turn:
            if self.lost:
                return
            self.lost = why
            requests = list(self._requests.values())
        self._over.set()
        self._greeted.set()
        for asked in requests:
            asked.wake()
        with suppress(Exception):
            self._close()

    def timeout(self, operation: str, timeout: float) -> HostError:
        return HostError(
            f"the host did not answer within {format_duration(timeout)} ({operation})",
            where=self._where,
            mend="see whether its storage answers",
        )

    def _listen(self) -> None:
        frames = Unpacker()
        told = b""
        try:
            while not self.lost:
                try:
                    data = self._channel.recv(_CHUNK)
                except TimeoutError:
                    self._see()
                    continue
                finally:
                    while self._channel.recv_stderr_ready():
                        told = (told + self._channel.recv_stderr(_CHUNK))[-2000:]
                if not data:
                    said = told.decode("utf-8", errors="replace").strip().splitlines()
                    self.lose(f"the far end closed it{': ' + said[-1][:300] if said else ''}")
                    return
                self._heard = time.monotonic()
                for header, payload in frames.feed(data):
                    self._take(header, payload)
        except (OSError, EOFError, Garbled, KeyError) as error:
            self.lose(str(error) or type(error).__name__)

    def _see(self) -> None:
        silent = time.monotonic() - self._heard
        if silent >= BEATS * self._keepalive:
            self.lose(f"nothing was heard for {format_duration(silent)}")

    def _beat(self) -> None:
        while not self._over.wait(self._keepalive):
            with suppress(HostUnreachable):
                self.send({"ping": 1})

    def _take(self, header: dict[str, Any], payload: bytes) -> None:
        if "hello" in header:
            self.hello = header["hello"]
            self._greeted.set()
        elif "id" in header:
            with self._turn:
                asked = self._requests.get(header["id"])
            if asked is not None:
                asked.take(header, payload)


class Asked:
    """A request under way. Left before its end it is cancelled, and waited for: what it started is ended then."""

    def __init__(self, link: Link, number: int, operation: str) -> None:
        self._link = link
        self._number = number
        self._operation = operation
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._window = Window()
        self._ended = False
        self._done: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancels it unless it has ended, and waits until it is gone."""
        try:
            if not self._ended and not self._link.lost:
                with suppress(HostError):
                    self._cancel()
                    self._wait(_END)
        finally:
            self._forget()

    def abandon(self) -> None:
        """Cancels it, and does not wait. Nothing of its answer can be had any more."""
        with suppress(HostError):
            if not self._ended and not self._link.lost:
                self._cancel()
        self._forget()
        self.wake()

    def _cancel(self) -> None:
        self._link.send({"id": self._number, "cancel": 1})

    def _forget(self) -> None:
        self._window.close()
        self._link.forget(self._number)

    def take(self, header: dict[str, Any], payload: bytes) -> None:
        if "ack" in header:
            self._window.give(header["ack"])
        else:
            self._frames.put((header, payload))

    def wake(self) -> None:
        self._window.close()
        self._frames.put(None)

    def feed(self, data: bytes) -> bool:
        """Sends a piece along; waits while the far end has enough. False when it wants no more."""
        if not self._window.take():
            if self._link.lost:
                raise self._link.unreachable()
            return False
        self._link.send({"id": self._number}, data)
        return True

    def feed_all(self, data: bytes) -> None:
        """All there is, in pieces, and its end."""
        for began in range(0, len(data), PIECE):
            self.feed(data[began : began + PIECE])
        self.feed_end()

    def feed_end(self) -> None:
        self._link.send({"id": self._number, "eof": 1})

    def part(self, timeout: float) -> Frame | None:
        """The next part of the answer; None at its end.

        Raises Failure with what the host says, HostUnreachable, HostError when nothing comes for so long.
        """
        frame = self._next(timeout)
        header, payload = frame
        if "data" in header:
            self._link.send({"id": self._number, "ack": 1})
            return header["data"], payload
        self._ended = True
        if "failed" in header:
            told = header["failed"]
            raise Failure(told["what"], told["mend"], told["kind"])
        self._done = header["done"]
        return None

    def parts(self, timeout: float) -> Iterator[Frame]:
        """All parts of the answer; `timeout` is for each."""
        while (part := self.part(timeout)) is not None:
            yield part

    def end(self, timeout: float) -> dict[str, Any]:
        """What is told at the end."""
        for _ in self.parts(timeout):
            pass
        return self._done

    @property
    def done(self) -> dict[str, Any]:
        """What was told at the end."""
        return self._done

    def _next(self, timeout: float) -> Frame:
        try:
            frame = self._frames.get(timeout=timeout)
        except queue.Empty:
            raise self._link.timeout(self._operation, timeout) from None
        if frame is None:
            # For whoever asks next.
            self._frames.put(None)
            raise self._link.unreachable()
        return frame

    def _wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while "data" in self._next(max(0.0, deadline - time.monotonic()))[0]:
            pass
        self._ended = True
