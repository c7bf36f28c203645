"""What goes wrong between drtests and an object store: real servers, with a proxy in between that can break things."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drtests.errors import (
    BudgetExceeded,
    ObjectDamaged,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreThrottled,
    StoreUnreachable,
)
from drtests.model.connections import Prices
from drtests.protocols.store import ObjectFact, Usage
from drtests.stores.bucket import S3Store
from drtests.stores.client import ATTEMPTS
from tests.support.buckets import Account, S3Server
from tests.support.ceph import Ceph
from tests.support.wire import Fault, Request, Rule, Wire, error, wire

_DATA = b"".join(b"%07d\n" % number for number in range(300_000))
"""2.4 MB: of several chunks."""
_REGION = {"x-amz-bucket-region": "eu-west-1"}
_SLOW = error("SlowDown", 503, "Please reduce your request rate.")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtests.stores.client.PAUSE", 0.01)


@pytest.fixture(scope="module")
def bucket(rclone: S3Server) -> str:
    name = rclone.bucket()
    rclone.client().put_object(Bucket=name, Key="data/big", Body=_DATA)
    return name


@pytest.fixture
def between(rclone: S3Server) -> Iterator[Wire]:
    with wire(rclone) as found:
        yield found


def _times(count: int, fault: Fault, method: str = "GET") -> Rule:
    """The first so many requests of that method."""
    left = [count]

    def rule(request: Request, _: int) -> Fault | None:
        if request.method != method or not left[0]:
            return None
        left[0] -= 1
        return fault

    return rule


def _big(store: S3Store) -> ObjectFact:
    return next(store.objects("data/big"))


class TestThrottling:
    def test_asks_again_and_counts_every_request(self, between: Wire, bucket: str) -> None:
        store = between.server.store(bucket)
        between.rule = _times(2, _SLOW)
        assert store.read("data/big", limit=8) == _DATA[:8]
        assert len(between.requests) == 3
        assert store.usage.reads == 3

    def test_gives_up(self, between: Wire, bucket: str) -> None:
        between.rule = _times(99, _SLOW)
        with pytest.raises(StoreThrottled) as caught:
            between.server.store(bucket).read("data/big")
        assert len(between.requests) == ATTEMPTS
        assert caught.value.where
        assert caught.value.mend

    def test_repeats_a_write_that_was_not_done(self, between: Wire, bucket: str) -> None:
        between.rule = _times(1, _SLOW, "PUT")
        between.server.store(bucket, role="writer").write("drtests-probe/slow", b"x")
        assert len(between.sent("PUT")) == 2

    def test_never_repeats_a_write_that_may_have_been_done(self, between: Wire, bucket: str) -> None:
        between.rule = _times(1, error("InternalError", 500), "PUT")
        with pytest.raises(StoreUnreachable):
            between.server.store(bucket, role="writer").write("drtests-probe/lost", b"x")
        assert len(between.sent("PUT")) == 1


class TestDownload:
    def test_goes_on_where_it_broke_off(self, between: Wire, bucket: str, tmp_path: Path) -> None:
        store = between.server.store(bucket)
        fact = _big(store)
        between.requests.clear()
        between.rule = _times(2, Fault(cut=1_000_000))
        digest = store.download(fact, tmp_path / "big")
        assert digest == hashlib.sha256(_DATA).hexdigest()
        assert (tmp_path / "big").read_bytes() == _DATA
        ranges = [one.headers.get("range") for one in between.requests]
        assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]
        assert all(one.headers["if-match"] == f'"{fact.etag}"' for one in between.requests)
        assert store.usage.bytes_out == len(_DATA), "a byte was fetched twice, or is not counted"
        assert store.usage.reserved == 0

    def test_begins_again_where_a_server_knows_no_ranges(self, between: Wire, bucket: str, tmp_path: Path) -> None:
        store = between.server.store(bucket)
        fact = _big(store)
        whole = Fault(200, _DATA.decode(), {"ETag": f'"{fact.etag}"'})

        def rule(request: Request, _: int) -> Fault | None:
            return whole if "range" in request.headers else Fault(cut=1_000_000)

        between.rule = rule
        store.download(fact, tmp_path / "big")
        assert (tmp_path / "big").read_bytes() == _DATA

    def test_stops_when_nothing_comes_any_more(self, between: Wire, bucket: str, tmp_path: Path) -> None:
        store = between.server.store(bucket)
        fact = _big(store)
        between.requests.clear()
        between.rule = _times(10**6, Fault(cut=10))
        with pytest.raises(StoreUnreachable):
            store.download(fact, tmp_path / "big")
        assert len(between.requests) == ATTEMPTS
        assert not (tmp_path / "big").exists()

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(changed=lambda data: b"X" + data[1:]),
            Fault(changed=lambda data: data[:-1]),
            Fault(changed=lambda data: data + b"more"),
            Fault(headers={"x-amz-checksum-sha256": "bm90IHRoZSBzYW1lIGFzIHdoYXQgY2FtZSBvdXQgb2Y="}),
            Fault(headers={"x-amz-checksum-crc32": "AAAAAA=="}),
        ],
        ids=["other", "short", "long", "sha256", "crc32"],
    )
    def test_what_comes_is_not_what_is_listed(self, between: Wire, bucket: str, tmp_path: Path, fault: Fault) -> None:
        store = between.server.store(bucket)
        fact = _big(store)
        between.rule = _times(10**6, fault)
        with pytest.raises(ObjectDamaged):
            store.download(fact, tmp_path / "big")
        assert not (tmp_path / "big").exists()

    def test_another_part_than_asked_for(self, between: Wire, bucket: str, tmp_path: Path) -> None:
        store = between.server.store(bucket)
        fact = _big(store)
        wrong = Fault(206, "x" * 10, {"Content-Range": f"bytes 5-14/{len(_DATA)}"})
        between.rule = lambda request, _: wrong if "range" in request.headers else Fault(cut=1_000_000)
        with pytest.raises(ObjectDamaged):
            store.download(fact, tmp_path / "big")

    def test_replaced_while_it_is_read_on_ceph(self, ceph: Ceph, tmp_path: Path) -> None:
        name, client = ceph.server.bucket(), ceph.server.client()
        client.put_object(Bucket=name, Key="x", Body=b"one")
        store = ceph.server.store(name)
        fact = next(store.objects())
        client.put_object(Bucket=name, Key="x", Body=b"two")
        with pytest.raises(ObjectDamaged, match="replaced"):
            store.download(fact, tmp_path / "x")

    def test_reading_goes_on_after_a_break(self, between: Wire, bucket: str) -> None:
        between.rule = _times(1, Fault(cut=1000))
        assert between.server.store(bucket).read("data/big") == _DATA


class TestListing:
    def test_goes_on_page_by_page(self, between: Wire, rclone_data: Path, rclone: S3Server) -> None:
        bucket = rclone.bucket()
        many = rclone_data / bucket / "many"
        many.mkdir()
        for number in range(2100):
            (many / f"{number:05}").touch()
        found = between.server.store(bucket).objects("many/")
        next(found)
        assert len(between.requests) == 1, "pages are asked for before they are needed"
        assert sum(1 for _ in found) == 2099
        assert len(between.requests) == 3

    def test_of_versions_goes_on_page_by_page_on_ceph(self, ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> None:
        name, client = ceph.server.bucket(versioned=True), ceph.server.client()
        for _ in range(3):
            for key in ("a", "b"):
                client.put_object(Bucket=name, Key=key, Body=b"x")
                client.delete_object(Bucket=name, Key=key)
        whole = list(ceph.server.store(name).versions())
        assert [one.deleted for one in whole] == [True, False] * 6
        monkeypatch.setattr("drtests.stores.bucket.PAGE", 1)
        assert list(ceph.server.store(name).versions()) == whole

    def test_that_never_ends(self, between: Wire, bucket: str) -> None:
        again = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        between.rule = lambda _request, _before: Fault(200, f"{again}</ListBucketResult>")
        with pytest.raises(StoreError, match="does not end"):
            list(between.server.store(bucket).objects())
        assert len(between.requests) < 5


class TestElsewhere:
    """A redirect is told, never followed: credentials go nowhere but to the declared endpoint."""

    @pytest.mark.parametrize(
        "fault",
        [
            error("PermanentRedirect", 301, "", "<Endpoint>b.example</Endpoint>", **_REGION),
            error("AuthorizationHeaderMalformed", 400, "expecting 'eu-west-1'", "<Region>eu-west-1</Region>"),
            error("TemporaryRedirect", 307, Location="http://127.0.0.1:9/", **_REGION),
        ],
        ids=["301", "400", "307"],
    )  # fmt: skip
    def test_names_the_right_region(self, between: Wire, bucket: str, fault: Fault) -> None:
        between.rule = lambda _request, _before: fault
        store = between.server.store(bucket)
        asks: tuple[Callable[[], object], ...] = (lambda: list(store.objects()), lambda: store.state("data/big"))
        for ask in asks:
            between.requests.clear()
            with pytest.raises(StoreError) as caught:
                ask()
            assert type(caught.value) is StoreError
            assert caught.value.permanent
            assert len(between.requests) == 1, "it was followed, or asked again"
            if "400" not in caught.value.what:
                assert "eu-west-1" in caught.value.mend

    def test_answers_of_something_else(self, between: Wire, bucket: str) -> None:
        for body in ("<html>Welcome to the proxy</html>", "not even that", ""):
            between.rule = lambda _request, _before, body=body: Fault(200, body)  # type: ignore[misc]
            with pytest.raises(StoreError):
                list(between.server.store(bucket).objects())

    def test_no_tls_at_all(self, rclone: S3Server, bucket: str) -> None:
        store = rclone.at(rclone.endpoint.replace("http:", "https:")).store(bucket)
        with pytest.raises(StoreUnreachable):
            list(store.objects())


class TestCredentials:
    @pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
    def test_are_not_accepted(self, between: Wire, bucket: str, code: str) -> None:
        between.rule = lambda _request, _before: error(code, 403, "no")
        with pytest.raises(StoreDenied) as caught:
            list(between.server.store(bucket).objects())
        assert code in caught.value.what
        assert len(between.requests) == 1, "that does not change by asking again"

    def test_wrong_ones_on_ceph(self, ceph: Ceph) -> None:
        name = ceph.server.bucket()
        owner = ceph.server.owner
        for account in (Account("x", "AKNOBODY000000000000", owner.secret_key), Account("x", owner.access_key, "no")):
            with pytest.raises(StoreDenied, match="does not accept the credentials"):
                list(ceph.server.store(name, account).objects())

    @pytest.mark.parametrize(("off", "told"), [(3600, r"1h(\d+s)? ahead"), (-7230, r"2h\d+s behind")])
    def test_signed_by_a_wrong_clock_on_ceph(
        self, ceph: Ceph, monkeypatch: pytest.MonkeyPatch, off: int, told: str
    ) -> None:
        name = ceph.server.bucket()
        wrong = timedelta(seconds=off)

        def now(remove_tzinfo: bool = True) -> datetime:
            moment = datetime.now(UTC) + wrong
            return moment.replace(tzinfo=None) if remove_tzinfo else moment

        monkeypatch.setattr("botocore.auth.get_current_datetime", now)
        monkeypatch.setattr("drtests.stores.failures._now", lambda: datetime.now(UTC) + wrong)
        with pytest.raises(StoreDenied, match="RequestTimeTooSkewed") as caught:
            list(ceph.server.store(name).objects())
        assert re.search(told, caught.value.what)
        assert "NTP" in caught.value.mend

    def test_nothing_out_of_the_surroundings(
        self, between: Wire, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "config").write_text("[profile other]\nregion = eu-west-3\ns3 =\n  addressing_style = virtual\n")
        for name, value in {
            "AWS_PROFILE": "no-such-profile", "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "AKAMBIENT00000000000", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "ambient",
            "AWS_DEFAULT_REGION": "eu-west-3", "AWS_MAX_ATTEMPTS": "9", "AWS_DEFAULTS_MODE": "auto",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        store = between.server.store(bucket)
        assert [one.key for one in store.objects("data/")] == ["data/big"]
        store.facts()
        assert between.requests
        signed = [one.headers["authorization"] for one in between.requests if "authorization" in one.headers]
        assert all(f"Credential={between.server.owner.access_key}/" in one and "us-east-1" in one for one in signed)
        assert len(signed) < len(between.requests), "nothing was tried without credentials"
        assert not [one for one in between.requests if "x-amz-security-token" in one.headers]


class TestBudget:
    """A request that would cost too much is not sent."""

    _PRICES = Prices(per_1000_reads=1.0, per_1000_writes=10.0, per_gib_out=1024.0, budget=1.0)

    def test_of_requests(self, between: Wire, bucket: str) -> None:
        store = between.server.store(bucket, prices=self._PRICES, usage=Usage(reads=998))
        store.read("data/big", limit=1)
        with pytest.raises(BudgetExceeded) as caught:
            store.read("data/big", limit=1)
        assert len(between.requests) == 1
        assert "1.0000 EUR" in caught.value.what
        with pytest.raises(BudgetExceeded):
            list(store.objects())
        assert len(between.requests) == 1

    def test_of_asking_again(self, between: Wire, bucket: str) -> None:
        between.rule = _times(99, _SLOW)
        store = between.server.store(bucket, prices=self._PRICES, usage=Usage(reads=998))
        with pytest.raises(BudgetExceeded):
            store.read("data/big")
        assert len(between.requests) == 2

    def test_of_a_download_by_its_size(self, between: Wire, bucket: str, tmp_path: Path) -> None:
        store = between.server.store(bucket, prices=self._PRICES)
        fact = _big(store)
        before = len(between.requests)
        with pytest.raises(BudgetExceeded):
            store.download(fact, tmp_path / "big")
        assert len(between.requests) == before
        assert store.usage.reserved == 0
        assert not (tmp_path / "big").exists()

    def test_is_shared_by_all_that_a_drill_opens(self, between: Wire, bucket: str) -> None:
        usage = Usage()
        for role in ("reader", "writer"):
            between.server.store(bucket, role=role, usage=usage).read("data/big", limit=1)
        assert (usage.reads, usage.bytes_out) == (2, 2)


class TestNames:
    def test_no_such_bucket(self, rclone: S3Server) -> None:
        with pytest.raises(ObjectMissing, match="NoSuchBucket"):
            list(rclone.store("no-such-bucket").objects())

    def test_in_an_archive(self, between: Wire, bucket: str) -> None:
        between.rule = lambda _request, _before: error("InvalidObjectState", 403)
        with pytest.raises(StoreError, match="archive") as caught:
            between.server.store(bucket).read("data/big")
        assert type(caught.value) is StoreError

    def test_a_delete_marker_holds_nothing(self, rclone: S3Server, bucket: str, tmp_path: Path) -> None:
        store = rclone.store(bucket)
        with pytest.raises(StoreError):
            store.download(dataclasses.replace(_big(store), deleted=True), tmp_path / "x")
