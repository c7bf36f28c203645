"""What helpers speak: their signatures are those of botocore, and an answer that is not plain is none."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from drtests.stores.fetch_worker import Signer, _body, _OtherwiseError

_CHARACTERS = st.characters(codec="utf-8")
_NOW = datetime(2026, 3, 1, 4, 5, 6, tzinfo=UTC)


@given(
    st.text(_CHARACTERS, min_size=1),
    st.none() | st.text(_CHARACTERS, min_size=1),
    st.none() | st.just("token=/+"),
)
def test_signed_as_botocore_does(key: str, version: str | None, token: str | None) -> None:
    path, query = f"/bucket/{quote(key, safe='/-_.~')}", ""
    if version is not None:
        query = f"versionId={quote(version, safe='-_.~')}"
    given_ = {"host": "127.0.0.1:9000", "if-match": '"0123"'}
    ours = Signer("AK", "secret", token, "eu-west-1").signed(path, query, given_, _NOW)
    request = AWSRequest("GET", f"http://127.0.0.1:9000{path}{query and '?'}{query}", headers={"If-Match": '"0123"'})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda **_: _NOW)
        S3SigV4Auth(Credentials("AK", "secret", token), "s3", "eu-west-1").add_auth(request)
    theirs = {name.lower(): value for name, value in request.headers.items()}
    assert {**theirs, "host": "127.0.0.1:9000"} == dict(ours)


def _answer(text: str) -> io.BytesIO:
    return io.BytesIO(text.replace("\n", "\r\n").encode())


def test_a_plain_answer() -> None:
    assert _body(_answer("HTTP/1.1 200 OK\nContent-Length: 3\n\nabcdef")) == (b"abc", True)
    assert _body(_answer("HTTP/1.1 200 OK\nContent-Length: 0\nConnection: close\n\n")) == (b"", False)


@pytest.mark.parametrize(
    ("text", "came"),
    [
        ("", 0),
        ("HTTP/1.1 404 Not Found\nContent-Length: 3\n\nabc", 0),
        ("HTTP/1.1 206 Partial Content\nContent-Length: 3\n\nabc", 0),
        ("HTTP/1.1 200 OK\n\nabc", 0),
        ("HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 4\n\nabcd", 0),
        ("HTTP/1.1 200 OK\nContent-Length: 3\nTransfer-Encoding: chunked\n\nabc", 0),
        ("HTTP/1.1 200 OK\nContent-Length: 3\nContent-Encoding: gzip\n\nabc", 0),
        ("HTTP/1.1 200 OK\nContent-Length: 9\n\nabc", 3),
        ("HTTP/1.1 200 OK\nContent-Length: 3", 0),
        ("no HTTP at all\n\n", 0),
    ],
)
def test_an_answer_that_is_not_plain_is_none(text: str, came: int) -> None:
    with pytest.raises(_OtherwiseError) as caught:
        _body(_answer(text))
    assert caught.value.came == came
