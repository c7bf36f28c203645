"""What S3 and the way to it can answer besides what was asked for, by drtests' own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from xml.etree.ElementTree import ParseError

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ParamValidationError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from drtests.errors import (
    ObjectDamaged,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreRefused,
    StoreThrottled,
    StoreUnreachable,
)
from drtests.model.units import format_duration

_ELSEWHERE = {
    "PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException", "301", "302", "307",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Kind:
    """Answers of one kind. `told` follows S3's own words."""

    codes: frozenset[str]
    error: type[StoreError]
    told: str
    mend: str


_KINDS = (
    _Kind(
        frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}),
        StoreDenied,
        ": the credentials have expired",
        "give fresh credentials; those of a session end after some hours",
    ),
    _Kind(
        frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure", "InvalidSecurity"}),
        StoreDenied,
        ": the store does not accept the credentials",
        "look at access_key and secret_key: does the account still exist, and do the two belong together?",
    ),
    _Kind(
        frozenset(
            {"SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests",
             "RequestLimitExceeded", "503", "429"}
        ),
        StoreThrottled,
        ": the store asks to slow down",
        "drill when less is going on, or ask the provider for more",
    ),
    _Kind(
        frozenset({"InvalidObjectState"}),
        StoreError,
        ": the object is in an archive",
        "bring it back from the archive first, and count the hours that takes to the recovery",
    ),
    _Kind(
        frozenset({"PreconditionFailed", "412"}),
        ObjectDamaged,
        ": the object was replaced while it was read",
        "enable versioning, so that what is read cannot change meanwhile",
    ),
    _Kind(
        frozenset({"InvalidRange", "416"}),
        ObjectDamaged,
        ": the object is shorter than the store says",
        "see whether the object was replaced; if not, its storage is damaged",
    ),
    _Kind(
        frozenset({"NoSuchBucket"}), ObjectMissing, "", "look at the bucket's name and at the endpoint"
    ),
    _Kind(
        frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404", "405", "MethodNotAllowed"}),
        ObjectMissing,
        "",
        "look at the key and the version, and at the bucket's name",
    ),
    _Kind(
        frozenset({"NotImplemented", "501"}),
        StoreError,
        "",
        "the store does not offer this; use another for what needs it",
    ),
    _Kind(
        frozenset({"AccessDenied"}), StoreRefused, "", "let the account do this, in its own policy and in the bucket's"
    ),
    _Kind(
        frozenset({"InvalidBucketState"}),
        StoreRefused,
        "",
        "see what the bucket is set to; object lock cannot be taken away, nor its versioning",
    ),
    _Kind(
        # A bare status may come from anything on the way: it is no word of the store's.
        frozenset({"AllAccessDisabled", "AccountProblem", "NotSignedUp", "401", "403"}),
        StoreDenied,
        "",
        "let the account do this, in its own policy and in the bucket's",
    ),
    _Kind(
        frozenset({"InternalError", "RequestTimeout", "OperationAborted", "500", "502", "504", "408"}),
        StoreUnreachable,
        "",
        "see whether the store is well; then drill again",
    ),
)  # fmt: skip
"""A code counts before the status of the answer."""
_OTHER = _Kind(frozenset(), StoreError, "", "look the code up in the store's manual")


FAILURES = (BotoCoreError, ClientError, ResponseParserError, ParseError, HTTPError, HTTPException, OSError)
"""All that botocore and what it stands on raise for an answer that is not the one asked for."""


def failure(error: Exception, *, bucket: str, endpoint: str, asked: str, region: str = "") -> StoreError:
    """The error that fits. `asked` is the operation, and perhaps the key, in words. Repeats no secret."""
    where = f"{asked}, bucket {bucket} at {endpoint}"
    if isinstance(error, ClientError):
        return _answered(error.response, where, region)
    if isinstance(error, SSLError):
        return StoreUnreachable(
            f"no connection that can be trusted: {_words(error)}",
            where=where,
            mend="see whether the endpoint's certificate is valid and its authority known here; an authority of your "
            "own is named by the variable AWS_CA_BUNDLE",
        )
    if isinstance(error, ResponseParserError | ParseError):
        return StoreError(
            "the answer is not one of S3",
            where=where,
            mend="see whether the endpoint is that of an object store, and no proxy answers in its place",
        )
    if isinstance(error, ParamValidationError):
        return StoreError(f"it cannot be asked so: {_words(error)}", where=where, mend="look at the bucket's name")
    if isinstance(error, HTTPClientError | NoConnection | IncompleteReadError):
        return StoreUnreachable(
            f"no answer, or not all of it: {_words(error)}",
            where=where,
            mend="see whether the endpoint is right, and reached from here",
        )
    if isinstance(error, BotoCoreError):
        return StoreError(_words(error), where=where, mend="look at the store's declaration")
    return StoreUnreachable(
        f"the connection broke: {_words(error)}", where=where, mend="see whether the store is well; then drill again"
    )


def code_of(error: Exception) -> str:
    """S3's own code for what it refused; empty when it did not answer at all."""
    return str(error.response.get("Error", {}).get("Code") or "") if isinstance(error, ClientError) else ""


def _answered(response: Mapping[str, Any], where: str, region: str) -> StoreError:
    told: Mapping[str, Any] = response.get("Error", {})
    meta: Mapping[str, Any] = response.get("ResponseMetadata", {})
    headers: Mapping[str, str] = meta.get("HTTPHeaders", {})
    status = int(meta.get("HTTPStatusCode") or 0)
    code = str(told.get("Code") or status)
    message = str(told.get("Message") or "").strip()[:300]
    what = f"{code} ({status})" + (f": {message}" if message and message not in {code, "None"} else "")
    if code == "RequestTimeTooSkewed":
        mend = "set this machine's clock by NTP; S3 allows 15 minutes"
        return StoreDenied(f"{what}{_skew(headers)}", where=where, mend=mend)
    right = str(told.get("Region") or headers.get("x-amz-bucket-region") or "")
    elsewhere = bool(right) and right != region
    if code in _ELSEWHERE or (elsewhere and status in {301, 307, 400}):
        there = f"; the bucket is in region {right}, and {region} is declared" if elsewhere else ""
        other = f" (its endpoint is {told['Endpoint']})" if told.get("Endpoint") else ""
        mend = f"declare `region: {right}`" if right else "declare the bucket's own region and endpoint"
        return StoreError(f"{what}{there}", where=where, mend=f"{mend}{other}")
    if code == "InvalidRequest" and "WORM protected" in message:
        # So MinIO refuses what an object lock forbids.
        return StoreRefused(what, where=where, mend="wait until the retention ends")
    kind = next((kind for known in (code, str(status)) for kind in _KINDS if known in kind.codes), _OTHER)
    return kind.error(f"{what}{kind.told}", where=where, mend=kind.mend)


def _skew(headers: Mapping[str, str]) -> str:
    try:
        there = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        return ": the clocks differ"
    off = (_now() - there).total_seconds()
    return f": this machine's clock is {format_duration(abs(off))} {'ahead of' if off > 0 else 'behind'} the store's"


def _now() -> datetime:
    return datetime.now(UTC)


def _words(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
