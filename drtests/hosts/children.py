"""A child process: fed, listened to, and ended with its whole group.

Also runs on hosts that are reached over SSH: nothing but the standard library of Python 3.7.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from drtests.hosts.failure import Failure
from drtests.hosts.processes import end_group, signal_group

KEEP = 1024 * 1024
"""Bytes of each stream that are kept, the last ones."""

_GRACE = 5.0
_READ = 256 * 1024
_LEFT_IN_PIPE = 4 * 1024 * 1024
_ENDED = "ended"
_WAKE = "wake"


class _Stream:
    """The end of what came; all of it goes to the sink as it comes."""

    def __init__(self, name: str, pipe: IO[bytes], sink: Callable[[str, bytes], None] | None) -> None:
        self.name = name
        self.pipe = pipe
        self._sink = sink
        self._tail = bytearray()

    def take(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > 2 * KEEP:
            del self._tail[:-KEEP]
        if self._sink is not None:
            self._sink(self.name, data)

    def end(self) -> None:
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink(self.name, b"")

    def mute(self) -> None:
        self._sink = None

    def tail(self) -> bytes:
        return bytes(self._tail[-KEEP:])


class Child:
    """Serves one child's pipes from one thread, so that it never waits for us and nothing is polled.

    `sink` is called with (`stdout` or `stderr`, what came) as it comes, and with nothing (b"") at the end.
    Whoever makes the descriptor `wake` readable ends the pumping, as the deadline does.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stdin: bytes | None,
        sink: Callable[[str, bytes], None] | None,
        wake: int = -1,
    ) -> None:
        self._process = process
        self._selector = selectors.DefaultSelector()
        self._input = memoryview(stdin or b"")
        self._streams: list[_Stream] = []
        self._pidfd = -1
        try:
            for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    stream = _Stream(name, pipe, sink)
                    self._streams.append(stream)
                    self._selector.register(pipe, selectors.EVENT_READ, stream)
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
                self._selector.register(process.stdin, selectors.EVENT_WRITE)
            with suppress(OSError, AttributeError):
                self._pidfd = os.pidfd_open(process.pid)
                self._selector.register(self._pidfd, selectors.EVENT_READ, _ENDED)
            if wake >= 0:
                self._selector.register(wake, selectors.EVENT_READ, _WAKE)
        except BaseException:
            self.close()
            raise

    def pump(self, deadline: float) -> bool:
        """Serves the pipes until the child has ended (true) or `deadline` on the monotonic clock has passed."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return self._ended()
            # Without a pidfd (old kernels) the end of the child has to be asked for.
            events = self._selector.select(left if self._pidfd >= 0 else min(left, 0.02))
            ended = False
            for key, _ in events:
                if key.data is None:
                    self._feed()
                elif isinstance(key.data, _Stream):
                    self._read(key.data)
                elif key.data == _WAKE:
                    self._selector.unregister(key.fileobj)
                    return self._ended()
                else:
                    ended = True
            if ended or (self._pidfd < 0 and self._ended()):
                self._drain()
                return True

    def reap(self) -> int:
        return self._process.wait()

    def output(self) -> tuple[bytes, bytes]:
        """The end of standard output and of standard error."""
        out, err = (stream.tail() for stream in self._streams)
        return out, err

    def close(self) -> None:
        """Ends the whole group when the child was not reaped; closes all."""
        try:
            if self._process.returncode is None:
                self._end()
        finally:
            self._selector.close()
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()

    def _end(self) -> None:
        for stream in self._streams:
            stream.mute()
        signal_group(self._process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        try:
            # It may have last words, and must not hang on a full pipe while it says them.
            self.pump(deadline)
        finally:
            end_group(self._process, deadline - time.monotonic())

    def _ended(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _feed(self) -> None:
        pipe = self._process.stdin
        if pipe is None:
            return
        try:
            self._input = self._input[os.write(pipe.fileno(), self._input[:_READ]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = self._input[:0]
        if not self._input:
            self._selector.unregister(pipe)
            pipe.close()

    def _read(self, stream: _Stream) -> int:
        """Bytes that came; 0 when there is nothing now, or nothing any more."""
        try:
            data = os.read(stream.pipe.fileno(), _READ)
        except BlockingIOError:
            return 0
        if data:
            stream.take(data)
        else:
            self._selector.unregister(stream.pipe)
            stream.end()
        return len(data)

    def _drain(self) -> None:
        """Takes what is still in the pipes. A grandchild may hold them open: its future is not waited for."""
        for stream in self._streams:
            taken = 0
            while stream.pipe in self._selector.get_map() and taken < _LEFT_IN_PIPE:
                count = self._read(stream)
                if not count:
                    break
                taken += count
            stream.end()


class Left:
    """A child that was left running, its output in a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: str) -> None:
        self._process = process
        self._log = log

    def __repr__(self) -> str:
        return f"Left(pid={self._process.pid})"

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        if self._process.returncode is not None:
            return self._process.returncode
        # Not reaped before `stop`: its group's id stays its own until then.
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def output(self, limit: int = 4000) -> str:
        try:
            with open(self._log, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 4 * limit))
                return file.read().decode("utf-8", errors="replace")[-limit:]
        except OSError as error:
            raise Failure(f"cannot read the service's output {self._log}: {error.strerror}") from error

    def stop(self, timeout: float) -> None:
        if self._process.returncode is not None:
            return
        signal_group(self._process.pid, signal.SIGTERM)
        end_group(self._process, timeout)
