"""Buckets of servers that tests start: as their owner sees them, and as drtests opens them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from drtests.model.connections import Store as Declared
from drtests.model.connections import StoreCredentials
from drtests.protocols.store import StoreContext, Usage
from drtests.stores.bucket import S3Store

REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Account:
    """Of tests alone."""

    name: str
    access_key: str
    secret_key: str

    @property
    def credentials(self) -> dict[str, str]:
        return {"access_key": self.access_key, "secret_key": self.secret_key}


@dataclass(frozen=True, slots=True)
class S3Server:
    """A server, and the account that may do everything there."""

    name: str
    endpoint: str
    owner: Account

    def at(self, endpoint: str) -> S3Server:
        """The same server, reached another way."""
        return replace(self, endpoint=endpoint)

    def client(self, account: Account | None = None) -> Any:
        """For what tests do besides drtests."""
        keys = account or self.owner
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            config=Config(
                connect_timeout=5, read_timeout=30, retries={"max_attempts": 0}, proxies={},
                s3={"addressing_style": "path"}, response_checksum_validation="when_required",
                request_checksum_calculation="when_required",
            ),
        )  # fmt: skip

    def bucket(self, *, versioned: bool = False, locked: bool = False) -> str:
        """A new bucket, of a name of its own."""
        name, client = f"b-{uuid.uuid4().hex[:16]}", self.client()
        client.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if locked else {}))
        if versioned and not locked:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def store(
        self, bucket: str, account: Account | None = None, role: str = "reader", usage: Usage | None = None, **more: Any
    ) -> S3Store:
        """The bucket as drtests opens it."""
        return S3Store(
            StoreContext(self.declared(bucket, **more), role, (account or self.owner).credentials, usage or Usage())
        )

    def declared(self, bucket: str, **more: Any) -> Declared:
        keys = StoreCredentials(access_key="env:UNUSED", secret_key="env:UNUSED")
        values = {"id": "vault", "endpoint": self.endpoint, "bucket": bucket, "reader": keys, "writer": keys}
        return Declared.model_validate(values | {"timeout": timedelta(seconds=20)} | more)


@dataclass
class Copier:
    """A job of the test's own, beside drtests: it keeps a bucket as another one is, deletions included."""

    server: S3Server
    source: str
    replica: str
    reader: Account | None = None
    """Who may read what others wrote; the owner of the bucket does not own that."""
    _going: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def once(self) -> None:
        client, reader = self.server.client(), self.server.client(self.reader)
        here, there = (_etags(client, bucket) for bucket in (self.source, self.replica))
        for key in [key for key, etag in here.items() if there.get(key) != etag]:
            body = reader.get_object(Bucket=self.source, Key=key)["Body"].read()
            client.put_object(Bucket=self.replica, Key=key, Body=body)
        for key in there.keys() - here.keys():
            client.delete_object(Bucket=self.replica, Key=key)

    @contextmanager
    def running(self) -> Iterator[Copier]:
        self._going.set()
        worker = threading.Thread(target=self._work, name="copier")
        worker.start()
        try:
            yield self
        finally:
            self._over.set()
            self._going.set()
            worker.join(30)

    def _work(self) -> None:
        while not self._over.is_set():
            self._going.wait(10)
            # What goes meanwhile is seen the next time.
            with suppress(ClientError, BotoCoreError), self._turn:
                if self._going.is_set():
                    self.once()
            self._over.wait(0.05)

    def pause(self) -> None:
        """When it returns nothing is copied any more."""
        self._going.clear()
        with self._turn:
            pass

    def go_on(self) -> None:
        self._going.set()


def _etags(client: Any, bucket: str) -> dict[str, str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", ())}
