"""botocore as drtests needs it: nothing out of the surroundings, nothing followed silently, every request counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies, parse_timestamp
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from drtests.errors import StoreError, StoreThrottled, StoreUnreachable
from drtests.protocols.store import StoreContext
from drtests.stores.failures import FAILURES, code_of, failure
from drtests.stores.meter import Meter
from drtests.stores.sockets import Sockets

ATTEMPTS = 5
PAUSE = 0.2
"""Seconds; the longest pause doubles with every attempt."""
_CONNECTING = 10.0
CONNECTIONS = 16
"""Connections that are kept: as many as the bucket engine downloads at a time."""

_MAKING = threading.Lock()
"""Clients may be used by several threads, but not made by them."""

_READS = ("get_", "head_", "list_")


class Client:
    """One account's way to one bucket. May be used by several threads."""

    def __init__(self, context: StoreContext, meter: Meter, *, signed: bool = True) -> None:
        self._declared = context.declared
        self._credentials = context.credentials
        self.bucket = context.declared.bucket
        self.endpoint = context.declared.endpoint or "AWS"
        self._client = _client(context, meter, signed=signed)
        self._sockets = Sockets(self._client)
        self.ahead: float | None = None
        """Seconds that the store's clock was ahead of this machine's at its last answer."""
        self._base = ""
        self._client.meta.events.register("before-parse.s3", self._hear_time)
        self._client.meta.events.register("before-send.s3", self._learn_base)

    def ask(self, operation: str, about: str = "", *, absent: Collection[str] = (), **parameters: Any) -> Any:
        """The answer to an operation on the bucket; None for an error with one of the codes `absent`.

        Raises the StoreError that fits. Asks again where that is safe: what
        only reads, and what the store was too busy to do.
        """
        reading = operation.startswith(_READS)

        def again(error: BaseException) -> bool:
            return isinstance(error, StoreThrottled) or (reading and isinstance(error, StoreUnreachable))

        return retrying(again)(self.once, operation, about, absent=absent, **parameters)

    def once(self, operation: str, about: str, *, absent: Collection[str] = (), **parameters: Any) -> Any:
        """As `ask`, without asking again."""
        if self._sockets.ended:
            raise StoreError("it was given up", where=f"bucket {self.bucket} at {self.endpoint}", mend="ask anew")
        try:
            return getattr(self._client, operation)(Bucket=self.bucket, **parameters)
        except FAILURES as error:
            if code_of(error) in absent:
                return None
            raise self.fails(error, f"{operation} {about}".strip()) from None

    def for_helpers(self) -> Mapping[str, Any] | None:
        """What a helper process has to know to ask as this does, secrets included.

        None where that is not known yet, since nothing was listed; or not possible, since there is a proxy between.
        """
        if not self._base or get_environ_proxies(self._base):
            return None
        return {
            "base": self._base,
            "region": self._declared.region,
            "timeout": self._declared.timeout.total_seconds(),
            # As botocore finds it.
            "trust": get_cert_path(_core().get_config_variable("ca_bundle") or True),
            **self._credentials,
        }

    def _learn_base(self, request: Any, event_name: str = "", **_: Any) -> None:
        # What is asked of the bucket itself tells its address, by whatever rules it was made.
        if event_name.rpartition(".")[2].startswith("ListObject"):
            self._base = str(request.url).partition("?")[0].rstrip("/")

    def abandon(self) -> None:
        """Ends whatever is under way; nothing can be asked any more."""
        self._sockets.end()

    def _hear_time(self, response_dict: dict[str, Any], **_: Any) -> None:
        told = response_dict.get("headers", {}).get("date")
        if told:
            with suppress(ValueError, TypeError):
                # It tells whole seconds, cut off: half of one more is as near as can be.
                self.ahead = parsedate_to_datetime(told).timestamp() + 0.5 - time.time()

    def fails(self, error: Exception, asked: str) -> StoreError:
        """The StoreError that fits."""
        return failure(error, bucket=self.bucket, endpoint=self.endpoint, asked=asked, region=self._declared.region)


def retrying(again: Callable[[BaseException], bool], stop: Callable[[RetryCallState], bool] | None = None) -> Retrying:
    """Tries again with growing, random pauses: several clients that were told to slow down do not return at once."""
    return Retrying(
        stop=stop or stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=PAUSE, max=10),
        retry=retry_if_exception(again),
        reraise=True,
    )


def _client(context: StoreContext, meter: Meter, *, signed: bool) -> Any:
    declared = context.declared
    addressing = declared.addressing
    if addressing == "auto":
        addressing = "path" if declared.endpoint else "virtual"
    config = Config(
        connect_timeout=min(_CONNECTING, declared.timeout.total_seconds()),
        read_timeout=declared.timeout.total_seconds(),
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": addressing, "us_east_1_regional_endpoint": "regional"},
        # Stores that are not AWS send the checksum of the whole object with a part of it.
        response_checksum_validation="when_required",
        request_checksum_calculation="when_required",
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg] # which the stubs lack
        max_pool_connections=CONNECTIONS,
        signature_version=None if signed else UNSIGNED,
        user_agent_extra="drtests",
    )
    keys = context.credentials if signed else {"access_key": "unsigned", "secret_key": "unsigned"}
    with _MAKING:
        client = _session().client(
            "s3",
            endpoint_url=declared.endpoint,
            region_name=declared.region,
            aws_access_key_id=keys["access_key"],
            aws_secret_access_key=keys["secret_key"],
            aws_session_token=keys.get("session_token"),
            config=config,
        )
    events = client.meta.events
    events.register("before-send.s3", meter.before_send)
    events.register("before-call.s3", _stay)
    events.register("before-call.s3.GetObject", _ask_for_checksums)
    events.register("before-parse.s3", _tell_shape)
    return client


@cache
def _session() -> Any:
    return boto3.session.Session(botocore_session=_core())


@cache
def _core() -> Any:
    """One for all, since it reads much. Of no profile and no configuration file: whatever lies about on the machine,
    a drill does what is declared.
    """
    core = botocore.session.Session()
    for name, value in (
        ("profile", None), ("config_file", "/dev/null"), ("credentials_file", "/dev/null"),
        ("defaults_mode", "legacy"), ("metadata_service_num_attempts", 0),
    ):  # fmt: skip
        # Not that of the session: None would be none there, and the surroundings be asked.
        core.get_component("config_store").set_config_variable(name, value)
    # A listing of many objects is for the most part their times.
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    return core


def _moment(told: Any) -> datetime:
    """As botocore has it, which tries every form that there is; the usual one first."""
    if isinstance(told, str) and told.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(told)
    return parse_timestamp(told)


def _stay(context: dict[str, Any], **_: Any) -> None:
    # As if the request had been redirected before: botocore follows once, and never tells.
    context.setdefault("s3_redirect", {})["redirected"] = True


def _ask_for_checksums(params: dict[str, Any], **_: Any) -> None:
    # As a header, not as a parameter: botocore would compare the whole object's with a part.
    params["headers"]["x-amz-checksum-mode"] = "ENABLED"


def _tell_shape(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], operation_model: Any, **_: Any
) -> None:
    """Adds what botocore leaves out: the answer's root element, and in which order versions and markers came."""
    if operation_model.name.startswith(("Put", "Delete")) or operation_model.has_streaming_output:
        return
    body = response_dict.get("body")
    if not isinstance(body, bytes):
        return
    try:
        root = ET.fromstring(body)  # noqa: S314 - botocore parses the same bytes with the same parser
    except ET.ParseError:
        return
    customized_response_dict["Root"] = _name(root)
    if operation_model.name == "ListObjectVersions":
        names = [_name(child) for child in root]
        customized_response_dict["Order"] = [name for name in names if name in {"Version", "DeleteMarker"}]


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
