"""Buckets of S3 and of what speaks like it. Needs boto3, which the extra `s3` brings."""

from __future__ import annotations

import importlib.util

from drtests.errors import UsageError
from drtests.protocols.store import Store, StoreContext


def open_s3(context: StoreContext) -> Store:
    """The declared bucket. Asks the store nothing yet. Raises UsageError without boto3."""
    if importlib.util.find_spec("boto3") is None:
        raise UsageError(
            f"store {context.declared.id!r} needs boto3, which is not installed",
            where="targets/estate.yaml",
            mend="pip install 'drtests[s3]'",
        )
    # Only who has a store needs boto3.
    from drtests.stores.bucket import S3Store  # noqa: PLC0415

    return S3Store(context)
