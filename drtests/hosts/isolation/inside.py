"""Runs on the machine itself: keeps namespaces that hold nothing but what is let through, and carries that in.

    python3 inside.py keep SETTINGS     makes them, and keeps them for as long as it runs
    python3 inside.py probe SETTINGS    tells in JSON what can be reached and seen from where it is run
    python3 inside.py inside SETTINGS FD    what `keep` runs within them

The network inside is a loopback of its own. Whoever connects there to an address that is let through is connected by
`keep` outside: sockets are made inside and handed out, so that there is no route, no bridge and no firewall.

Nothing but the standard library of Python 3.7: hosts that are reached over SSH run it, too.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import hmac
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

PIECE = 256 * 1024
CONNECT = 30.0
ASK = 3.0
MOST = 8
"""Addresses of one name that are let through."""
_RESET = struct.pack("ii", 1, 0)
_LISTENING = 0x10000
_SIOCSIFADDR, _SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFNETMASK = 0x8916, 0x8913, 0x8914, 0x891C
_UP = 1
_MS_BIND, _MS_REC = 4096, 16384
_RUN = "/run"
"""Here services of the machine have their sockets: databases, name services, agents that hold keys."""


class Cannot(Exception):
    """Why it cannot be isolated."""


def main(words: list[str]) -> int:
    with open(words[1], encoding="utf-8") as file:
        settings = json.load(file)
    if words[0] == "probe":
        json.dump(probe(settings), sys.stdout)
        return 0
    if words[0] == "inside":
        return inside(settings, socket.socket(fileno=int(words[2])))
    try:
        return keep(settings, words[1])
    except Cannot as error:
        _write(settings["ready"], {"error": str(error)})
        return 1


# Outside: resolves names, carries connections, answers at the door.


def keep(settings: dict[str, Any], path: str) -> int:
    """Until what it keeps ends, or it is ended."""
    settings["let"] = [[name, port, addresses(name, port)] for name, port in settings["through"]]
    if settings["let"] and not settings["let"][0][2]:
        raise Cannot(f"the address of {settings['let'][0][0]} cannot be found")
    settings["asked"] = [[what, name, port, addresses(name, port)] for what, name, port in settings["ask"]]
    settings["asked"] += [[f"name server {one}", one, 53, [one]] for one in _name_servers()]
    settings["hide"] += [[f"socket {one}", one] for one in _unix_sockets()]
    settings["net"] = _net()
    _write(path, settings)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    user = os.geteuid() != 0
    argv = ["unshare", "--net", "--mount", *(["--user", "--map-current-user", "--keep-caps"] if user else [])]
    argv += ["--", sys.executable, "-I", os.path.abspath(__file__), "inside", path, str(theirs.fileno())]
    try:
        child = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except OSError as error:
        raise Cannot(f"unshare cannot be run: {error.strerror}") from None
    theirs.close()
    told, descriptors = _receive(ours)
    if told is None or "error" in told:
        said = child.communicate()[1].decode(errors="replace").strip().splitlines()[-1:] if told is None else []
        raise Cannot(told["error"] if told else said[0] if said else f"unshare ended with code {child.wait()}")
    carried = Carried()
    for number, descriptor in enumerate(descriptors):
        _, address, port = told["listeners"][number]
        _begin(_accept, socket.socket(fileno=descriptor), carried, address, port)
    door = Door(ours, settings["token"], carried)
    ready = {"pid": child.pid, "port": door.port, "user": user, "problems": told["problems"]}
    _write(settings["ready"], ready)
    return child.wait()


class Carried:
    """Counts what was let through."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.connections = 0


class Door:
    """A port of this machine's loopback: who knows the token is connected to an address inside. It leads in only."""

    def __init__(self, inner: socket.socket, token: str, carried: Carried) -> None:
        self._inner = inner
        self._token = token
        self._carried = carried
        self._turn = threading.Lock()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        _begin(self._serve, listener)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            _begin(self._answer, listener.accept()[0])

    def _answer(self, asked: socket.socket) -> None:
        with asked, suppress(OSError, ValueError, KeyError):
            asked.settimeout(CONNECT)
            question = json.loads(line(asked))
            if not hmac.compare_digest(str(question["token"]), self._token):
                return
            if "address" not in question:
                asked.sendall(b"%d\n" % self._carried.connections)
                return
            with self._turn:
                self._inner.send(json.dumps([question["address"], question["port"]]).encode())
                told, descriptors = _receive(self._inner)
            if told is None or not descriptors:
                asked.sendall(b"%s\n" % (told or {}).get("error", "failed").encode())
                return
            asked.sendall(b"ok\n")
            with socket.socket(fileno=descriptors[0]) as there:
                carry(asked, there)


def line(connection: socket.socket) -> bytes:
    """What comes until the end of the line, and no more."""
    found = b""
    while not found.endswith(b"\n") and len(found) < 4096:
        data = connection.recv(1)
        if not data:
            break
        found += data
    return found.rstrip(b"\n")


def _accept(listener: socket.socket, carried: Carried, address: str, port: int) -> None:
    listener.settimeout(None)
    while True:
        _begin(_let_through, listener.accept()[0], carried, address, port)


def _let_through(here: socket.socket, carried: Carried, address: str, port: int) -> None:
    with here:
        try:
            there = socket.create_connection((address, port), CONNECT)
        except OSError:
            here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return
        with carried.turn:
            carried.connections += 1
        with there:
            carry(here, there)


def carry(one: socket.socket, other: socket.socket) -> None:
    """All bytes both ways, until both ends are done; a connection that breaks off does so at both ends."""
    for each in (one, other):
        each.settimeout(None)
        with suppress(OSError):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    back = threading.Thread(target=_pour, args=(other, one), daemon=True)
    back.start()
    _pour(one, other)
    back.join()


def _pour(source: socket.socket, drain: socket.socket) -> None:
    try:
        while True:
            data = source.recv(PIECE)
            if not data:
                drain.shutdown(socket.SHUT_WR)
                return
            drain.sendall(data)
    except OSError:
        for each in (source, drain):
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                each.shutdown(socket.SHUT_RDWR)


def addresses(name: str, port: int) -> list[str]:
    """Those of a name, as this machine finds them; none when it finds none."""
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))[:MOST]


def _name_servers() -> list[str]:
    with suppress(OSError), open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
        words = [text.split() for text in file]
        return [one[1] for one in words if len(one) > 1 and one[0] == "nameserver"]
    return []


def _unix_sockets() -> list[str]:
    """Those that somebody listens at: a path leads to them from any network."""
    found = []
    with suppress(OSError), open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        for text in file:
            fields = text.split(None, 7)
            if len(fields) == 8 and fields[7].startswith("/") and int(fields[3], 16) & _LISTENING:
                found.append(fields[7].rstrip("\n"))
    return sorted(set(found))


# Inside: a loopback, listeners, mounts; then connections as the door asks for them.


def inside(settings: dict[str, Any], outer: socket.socket) -> int:
    """Until nobody keeps it any more."""
    try:
        _loopback_up()
        wanted = [[name, address, port] for name, port, found in settings["let"] for address in found]
        wanted = list({(address, port): one for one in wanted for _, address, port in [one]}.values())
        listeners = [_listen(address, port) for _, address, port in wanted]
    except OSError as error:
        _send(outer, {"error": f"the network inside cannot be made: {error.strerror}"})
        return 1
    try:
        problems = hide(settings)
    except OSError as error:
        # What can be seen is told by the probe.
        problems = [f"files cannot be hidden: {error.strerror}"]
    _send(outer, {"listeners": wanted, "problems": problems}, [one.fileno() for one in listeners])
    for one in listeners:
        one.close()
    while True:
        data = outer.recv(4096)
        if not data:
            return 0
        address, port = json.loads(data)
        try:
            with socket.create_connection((address, port), 10.0) as made:
                _send(outer, {}, [made.fileno()])
        except ConnectionRefusedError:
            _send(outer, {"error": "refused"})
        except OSError as error:
            _send(outer, {"error": f"cannot connect: {error.strerror or error}"})


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack("16xH22x", fcntl.ioctl(any_, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _UP))


def _listen(address: str, port: int) -> socket.socket:
    """At that very address, which becomes one of the loopback's own."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        _add(family, address)
        made.bind((address, port))
    made.listen(256)
    return made


_ADDED: list[str] = []


def _add(family: int, address: str) -> None:
    packed = socket.inet_pton(family, address)
    with socket.socket(family, socket.SOCK_DGRAM) as any_:
        if family == socket.AF_INET6:
            request = struct.pack("16sIi", packed, 128, socket.if_nametoindex("lo"))
            fcntl.ioctl(any_, _SIOCSIFADDR, request)
            return
        _ADDED.append(address)
        name = b"lo:%d" % len(_ADDED)
        fcntl.ioctl(any_, _SIOCSIFADDR, struct.pack("16sHH4s16x", name, socket.AF_INET, 0, packed))
        fcntl.ioctl(any_, _SIOCSIFNETMASK, struct.pack("16sHH4s16x", name, socket.AF_INET, 0, b"\xff" * 4))


def hide(settings: dict[str, Any]) -> list[str]:
    """Puts nothing over what is to be hidden, and back what is to be kept below it. What could not be is told."""
    folder = settings["folder"]
    empty, hosts = os.path.join(folder, "empty"), os.path.join(folder, "hosts")
    _write_text(empty, "")
    names = "".join(f"{one} {name}\n" for name, _, found in settings["let"] for one in found if one != name)
    _write_text(hosts, f"127.0.0.1 localhost {socket.gethostname()}\n::1 localhost\n{names}")
    os.chmod(hosts, 0o644)
    os.chmod(empty, 0o644)
    hidden = {os.path.realpath(path) for _, path in [*settings["hide"], ["", _RUN]]}
    kept = [path for path in map(os.path.realpath, settings["keep"]) if any(_below(path, one) for one in hidden)]
    saved = {}
    for number, path in enumerate(kept):
        if os.path.isdir(path):
            saved[path] = os.path.join(folder, "kept", str(number))
            os.makedirs(saved[path])
            _mount(path, saved[path], "", _MS_BIND | _MS_REC, "")
    _mount(hosts, os.path.realpath("/etc/hosts"), "", _MS_BIND, "")
    # What lies deeper comes later: it may be kept in what is hidden, or be hidden in what is kept.
    paths = sorted(hidden | set(saved), key=lambda one: (one.count("/"), one))
    return [why for why in [_cover(path, saved.get(path), empty) for path in paths] if why]


def _cover(path: str, saved: str | None, empty: str) -> str:
    """Puts back what was saved, or nothing over the path. Tells why it could not."""
    try:
        if saved is not None:
            os.makedirs(path, exist_ok=True)
            _mount(saved, path, "", _MS_BIND | _MS_REC, "")
        elif os.path.isdir(path):
            _mount("none", path, "tmpfs", 0, "mode=0755,size=16m")
        elif os.path.lexists(path):
            _mount(empty, path, "", _MS_BIND, "")
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def _below(path: str, other: str) -> bool:
    return path == other or path.startswith(other.rstrip("/") + "/")


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    given = (os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    if libc.mount(*given):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


# Wherever it is run.


def probe(settings: dict[str, Any]) -> dict[str, Any]:
    """What can be reached and seen from here of what must not be."""
    let = {(address, port) for _, port, found in settings["let"] for address in found}
    reached, asked, names = [], [], []
    for what, name, port, found in settings["asked"]:
        for address in found:
            if (address, port) in let:
                reached.append(f"{what} at {address} port {port}, which the repository shares")
            elif _connects(address, port):
                reached.append(f"{what} at {address} port {port}")
            asked.append(f"{what} at {address} port {port}")
        if name not in found and name not in [one[0] for one in settings["let"]]:
            names += [f"{what} by its name {name}"] if addresses(name, port) else []
            asked += [f"{what} by its name {name}"]
    declared, kept = settings["declared"], [os.path.realpath(path) for path in settings["keep"]]
    return {
        "other_network": _net() != settings["net"],
        "interfaces": [name for _, name in socket.if_nameindex()],
        "let_through": [f"{address} port {port}" for address, port in sorted(let)],
        "asked": asked,
        "reached": reached + names,
        "hidden": [what for what, _ in declared],
        "seen": [what for what, path in declared if _visible(os.path.realpath(path), kept)],
    }


def _net() -> str:
    return os.readlink("/proc/self/ns/net")


def _connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), ASK).close()
    except OSError:
        return False
    return True


def _visible(path: str, kept: list[str]) -> bool:
    """Whether anything is there, what is kept below it aside."""
    try:
        if not os.path.isdir(path):
            return os.path.lexists(path) and (not os.path.isfile(path) or os.path.getsize(path) > 0)
        if path in kept:
            return bool(os.listdir(path))
        for name in os.listdir(path):
            below = os.path.join(path, name)
            if below not in kept and (not any(_below(one, below) for one in kept) or _visible(below, kept)):
                return True
    except OSError:
        return False
    return False


def _send(to: socket.socket, told: Any, descriptors: Any = ()) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())] if descriptors else []
    to.sendmsg([json.dumps(told).encode()], rights)


def _receive(by: socket.socket) -> tuple[Any, list[int]]:
    """What was told, or None at the end; and the descriptors that came with it."""
    data, rights, _, _ = by.recvmsg(PIECE, socket.CMSG_SPACE(256 * 4))
    found = array.array("i")
    for level, kind, payload in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
    return (json.loads(data) if data else None), list(found)


def _begin(work: Any, *arguments: Any) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _write(path: str, told: Any) -> None:
    _write_text(path + ".new", json.dumps(told))
    os.rename(path + ".new", path)


def _write_text(path: str, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
