"""Makes the password of a restic repository cheap to check, for repositories that live for one test.

restic chooses a key derivation that takes half a second of a processor, for every command. Tests run some
thousand commands, and keep no secrets. The format: https://restic.readthedocs.io/en/stable/design.html#keys-encryption-and-mac
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

_N = 2
_MAC = 16
_IV = 16


def lay_empty(repository: Path, program: str, password: str) -> None:
    """An empty repository; all of one program and password are one and the same. Raises FileExistsError."""
    repository.mkdir(parents=True)
    for name, data in _empty(program, password).items():
        path = repository / name
        if data is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.write_bytes(data)


@cache
def _empty(program: str, password: str) -> Mapping[str, bytes | None]:
    """Files, and folders as None, parents first."""
    with tempfile.TemporaryDirectory(prefix="drtests-empty-") as folder:
        made = Path(folder) / "repository"
        environment = {**os.environ, "RESTIC_PASSWORD": password}
        argv = [program, "--repo", str(made), "--no-cache", "--quiet", "init"]
        subprocess.run(argv, env=environment, capture_output=True, timeout=60, check=True)
        weaken(made, password)
        found = sorted(made.rglob("*"))
        return {str(path.relative_to(made)): None if path.is_dir() else path.read_bytes() for path in found}


def weaken(repository: Path, password: str) -> None:
    """Encrypts the master key anew, under a derivation that costs nothing. The password stays the same."""
    [file] = (repository / "keys").iterdir()
    name, data = weakened(file.read_bytes(), password)
    (file.parent / name).write_bytes(data)
    file.unlink()


def weakened(key: bytes, password: str) -> tuple[str, bytes]:
    """The same for the content of a key's file: the new one's name and content."""
    told: dict[str, Any] = json.loads(key)
    master = _opened(_derived(told, password), base64.b64decode(told["data"]))
    told["N"] = _N
    told["data"] = base64.b64encode(_sealed(_derived(told, password), master)).decode()
    data = json.dumps(told).encode()
    # A key's name is the hash of its file.
    return hashlib.sha256(data).hexdigest(), data


def _derived(told: dict[str, Any], password: str) -> bytes:
    salt = base64.b64decode(told["salt"])
    cost = {"n": told["N"], "r": told["r"], "p": told["p"]}
    return hashlib.scrypt(password.encode(), salt=salt, **cost, dklen=64, maxmem=1 << 28)


def _opened(key: bytes, sealed: bytes) -> bytes:
    nonce, text, tag = sealed[:_IV], sealed[_IV:-_MAC], sealed[-_MAC:]
    if not hmac.compare_digest(_tag(key, nonce, text), tag):
        raise ValueError("the password does not fit")
    return _counted(key, nonce, text)


def _sealed(key: bytes, plain: bytes) -> bytes:
    nonce = os.urandom(_IV)
    text = _counted(key, nonce, plain)
    return nonce + text + _tag(key, nonce, text)


def _counted(key: bytes, nonce: bytes, text: bytes) -> bytes:
    """AES-256 in counter mode, which is its own inverse."""
    work = Cipher(algorithms.AES(key[:32]), modes.CTR(nonce)).encryptor()
    return work.update(text) + work.finalize()


def _tag(key: bytes, nonce: bytes, text: bytes) -> bytes:
    """Poly1305-AES."""
    block = Cipher(algorithms.AES(key[32:48]), modes.ECB()).encryptor()  # noqa: S305 # one block, as Poly1305-AES has it
    return Poly1305.generate_tag(key[48:64] + block.update(nonce) + block.finalize(), text)
