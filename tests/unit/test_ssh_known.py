"""Keys of known hosts are read as OpenSSH writes them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from drtests.hosts.ssh import boot
from drtests.hosts.ssh.known import fingerprint, known_keys, line_of, name_of
from tests.support.needs import needs

A, B = "AAAAC3NzaC1lZDI1NTE5AAAAIA==", "AAAAC3NzaC1lZDI1NTE5AAAAIB=="


@pytest.mark.parametrize(
    ("names", "name", "fits"),
    [
        ("files", "files", True),
        ("files,192.0.2.7", "192.0.2.7", True),
        ("FILES", "files", True),
        ("*.example", "files.example", True),
        ("file?", "files", True),
        ("*.example,!files.example", "files.example", False),
        ("!files.example,*.example", "files.example", False),
        ("[files]:2222", "[files]:2222", True),
        ("[files]:2222", "f:2222", False),
        ("files", "[files]:2222", False),
        ("[files]:22", "files", False),
        ("|1|nonsense", "files", False),
    ],
)
def test_names(names: str, name: str, fits: bool) -> None:
    assert bool(known_keys(f"{names} ssh-ed25519 {A} comment\n", name).keys) is fits


def test_what_is_no_key_says_nothing() -> None:
    lines = [f"# files ssh-ed25519 {A}", "", "files ssh-ed25519", f"@cert-authority files ssh-ed25519 {A}"]
    assert known_keys("\n".join([*lines, "files ssh-ed25519 !!"]), "files").keys == ()


def test_revoked() -> None:
    found = known_keys(f"files ssh-ed25519 {A}\n@revoked * ssh-ed25519 {A}\nfiles ssh-ed25519 {B}\n", "files")
    assert len(found.keys) == 2
    assert found.revoked == {found.keys[0][1]}


@pytest.mark.parametrize("port", [22, 2222])
def test_hashed_names_and_fingerprints_are_those_of_ssh_keygen(tmp_path: Path, port: int) -> None:
    keygen = needs("ssh-keygen", install="openssh-client")
    file, key = tmp_path / "known_hosts", tmp_path / "key"
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=30)
    kind, encoded, _ = key.with_suffix(".pub").read_text().split(maxsplit=2)
    name = name_of("files.example", port)
    file.write_text(f"{name} {kind} {encoded}\n")
    subprocess.run([keygen, "-q", "-H", "-f", str(file)], check=True, timeout=30, capture_output=True)
    assert file.read_text().startswith("|1|")
    [(found_kind, found)] = known_keys(file.read_text(), name).keys
    assert line_of(name, found_kind, found) == f"{name} {kind} {encoded}"
    shown = subprocess.run([keygen, "-lf", str(key)], check=True, timeout=30, capture_output=True, text=True).stdout
    assert fingerprint(found) in shown
    assert known_keys(file.read_text(), "other").keys == ()


def test_what_is_sent_needs_nothing_but_an_old_python() -> None:
    """Sent modules import the standard library and, before them in line, each other; their syntax is that of 3.7."""
    sent: set[str] = set()
    for name, text in boot._modules():
        tree = ast.parse(text, feature_version=(3, 7))
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = [f"{module}.{alias.name}" for alias in node.names] if module == "drtests.hosts" else [module]
            for imported in names:
                top = imported.partition(".")[0]
                assert imported in sent if top == "drtests" else top in sys.stdlib_module_names, (name, imported)
        sent.add(name)
