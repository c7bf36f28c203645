"""Secrets come by reference and go nowhere else."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtests.errors import SecretError
from drtests.secrets import REDACTED, Redactor, resolve

SECRET = 'p@ss "w/ord+é'


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRTESTS_TEST_SECRET", SECRET)
    assert resolve("env:DRTESTS_TEST_SECRET") == SECRET


def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRTESTS_TEST_SECRET", raising=False)
    with pytest.raises(SecretError, match="DRTESTS_TEST_SECRET is not set") as caught:
        resolve("env:DRTESTS_TEST_SECRET")
    assert caught.value.mend


def _file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_from_a_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "key"
    path.write_bytes((SECRET + ending).encode())
    path.chmod(0o600)
    assert resolve(f"file:{path}") == SECRET
    assert resolve("file:key", root=tmp_path) == SECRET


def test_only_one_newline_is_stripped(tmp_path: Path) -> None:
    path = _file(tmp_path / "key", "a\n\n")
    assert resolve(f"file:{path}") == "a\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SecretError) as caught:
        resolve(f"file:{_file(tmp_path / 'key', 'hunter22', mode)}")
    assert "chmod 600" in caught.value.mend
    assert "hunter22" not in str(caught.value.diagnostics())


def test_a_file_that_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="No such file"):
        resolve(f"file:{tmp_path / 'none'}")
    with pytest.raises(SecretError, match="empty"):
        resolve(f"file:{_file(tmp_path / 'key', '')}")


def test_from_a_command(tmp_path: Path) -> None:
    script = _file(tmp_path / "tell.py", "import sys; print(sys.argv[1]); print('more')")
    assert resolve(f"command:{sys.executable} tell.py 'two words'", root=tmp_path) == "two words"
    assert resolve(f"command:{sys.executable} {script} '$HOME;ls'") == "$HOME;ls"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('hunter22'); raise SystemExit(3)", "ended with code 3"),
        ("import time; print('hunter22', flush=True); time.sleep(300)", "did not end within"),
        ("import sys; sys.stdout.buffer.write(b'hunter22' + bytes([255]))", "not UTF-8"),
        ("", "empty"),
    ],
)
def test_a_command_that_fails_tells_no_output(tmp_path: Path, code: str, said: str) -> None:
    _file(tmp_path / "tell.py", code)
    with pytest.raises(SecretError, match=said) as caught:
        resolve(f"command:{sys.executable} tell.py token-in-argument", timeout=2, root=tmp_path)
    shown = str(caught.value.diagnostics()) + repr(caught.value) + repr(caught.value.__cause__)
    assert "hunter22" not in shown
    assert "token-in-argument" not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_command_that_is_missing() -> None:
    with pytest.raises(SecretError, match="drtests-no-such-program"):
        resolve("command:drtests-no-such-program x")
    with pytest.raises(SecretError, match="open quote"):
        resolve("command:pass 'x")


@pytest.mark.parametrize("reference", ["hunter22", "plain:hunter22", "env:", ""])
def test_no_reference_is_not_repeated(reference: str) -> None:
    with pytest.raises(SecretError) as caught:
        resolve(reference)
    assert "hunter22" not in str(caught.value.diagnostics())


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
    ],
)
def test_every_form_is_redacted(form: str) -> None:
    shown = Redactor([SECRET]).text(f"before {form} after")
    assert REDACTED in shown
    assert form.strip("\"'") not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


def test_values_are_redacted_to_the_bottom() -> None:
    redactor = Redactor(["hunter22", "hunter22-longer"])
    value = {"hunter22": ["x hunter22-longer y", {"a": ("hunter22", 1, None, True, 2.5)}]}
    assert redactor.value(value) == {REDACTED: [f"x {REDACTED} y", {"a": [REDACTED, 1, None, True, 2.5]}]}


def test_a_short_secret_is_redacted_as_a_word() -> None:
    redactor = Redactor(["ab", ""])
    assert redactor.text("ab, table=ab able") == f"{REDACTED}, table={REDACTED} able"


def test_lines_of_a_secret_are_secrets() -> None:
    assert Redactor(["first-line\nsecond-line\n"]).text("x second-line") == f"x {REDACTED}"


def test_passwords_in_urls_are_hidden_though_unknown() -> None:
    text = "rest:https://me:s3cret@nas:8000/ and http://nas:80/a@b"
    assert Redactor().text(text) == f"rest:https://me:{REDACTED}@nas:8000/ and http://nas:80/a@b"


def test_the_representation_hides() -> None:
    assert "hunter22" not in repr(Redactor(["hunter22"])) + str(Redactor(["hunter22"]))


@given(st.text(min_size=4).filter(lambda text: len(text.strip()) >= 4 and "[" not in text), st.text(), st.text())
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    pieces = Redactor([secret]).text(before + secret + after).split(REDACTED)
    assert len(pieces) > 1
    assert not [piece for piece in pieces if secret in piece]
