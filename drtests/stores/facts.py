"""What a bucket tells of itself, taken strictly: an answer that is not a real one is none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from drtests.errors import BudgetExceeded, ObjectMissing, StoreDenied, StoreError
from drtests.model.connections import Store as Declared
from drtests.model.units import format_duration
from drtests.protocols.store import MOST_PROBES, REPLICATED_WITHIN, BucketFacts, DeletionRule
from drtests.stores.client import Client

T = TypeVar("T")
_DAY = 86400.0
_SAMPLE = 25
"""Objects whose replication is looked at: so many of the newest, and so many of all, spread evenly."""
_PAGES = 10
"""Of a thousand objects each, among which those are chosen."""
LISTINGS = {"ListBucketResult", "ListVersionsResult"}
_NO_FEATURE = ("NotImplemented", "501")
_EVERYBODY = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)


class _NotToldError(Exception):
    """There was an answer, and it does not tell."""


def read_facts(client: Client, stranger: Client, declared: Declared) -> BucketFacts:
    """Asks for everything. `stranger` asks without credentials.

    Raises the StoreError that fits when not even a listing can be had.
    """
    sample = client.ask("list_objects_v2", "", Prefix=declared.prefix, MaxKeys=100).get("Contents") or []
    return _Facts(client, stranger, declared, sample).all()


class _Facts:
    def __init__(
        self, client: Client, stranger: Client, declared: Declared, sample: Collection[Mapping[str, Any]]
    ) -> None:
        self._client = client
        self._stranger = stranger
        self._declared = declared
        self._sample = [one for one in sample if not self._is_probe(one)]
        self._unknown: dict[str, str] = {}
        self._raw: dict[str, Any] = {}
        self._blocks: Mapping[str, Any] | None = None
        self._acl: Mapping[str, Any] | None = None
        self._probe_days: float | None = None
        self._versioning: str | None = None

    def all(self) -> BucketFacts:
        lock = self._told("lock_mode", self._lock)
        replication = self._told("replication", self._replication)
        replicated = None
        if replication not in (None, "none"):
            replicated = self._told("replicated", self._replicated)
        if lock is None:
            self._unknown["lock"] = self._unknown["lock_seconds"] = self._unknown["lock_mode"]
        self._versioning = self._told("versioning", lambda: read_versioning(self._client))
        return BucketFacts(
            versioning=self._versioning,
            lock=lock[0] if lock else None,
            lock_mode=lock[1] if lock else None,
            lock_seconds=lock[2] if lock else None,
            encryption=self._told("encryption", self._encryption),
            public=self._told("public", self._public),
            deletions=self._told("deletions", self._deletions),
            replication=replication,
            replicated=replicated,
            location=self._told("location", self._location),
            owner=self._told("owner", self._owner),
            probes=self._told("probes", self._probes),
            probe_days=self._probe_days,
            unknown=self._unknown,
            raw=self._raw,
        )

    def _told(self, name: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except BudgetExceeded:
            raise
        except StoreError as error:
            self._unknown[name] = error.what
        except _NotToldError as error:
            self._unknown[name] = str(error)
        return None

    def _setting(self, operation: str, root: str, absent: Collection[str]) -> Any:
        """The answer, if it is a real one; None when the store says that there is no such setting."""
        return _setting(self._client, operation, root, absent)

    def _lock(self) -> tuple[bool, str, float]:
        answer = self._setting(
            "get_object_lock_configuration",
            "ObjectLockConfiguration",
            ("ObjectLockConfigurationNotFoundError", *_NO_FEATURE),
        )
        if answer is None:
            return False, "none", 0.0
        told = answer.get("ObjectLockConfiguration", {})
        if told.get("ObjectLockEnabled") != "Enabled":
            raise _NotToldError("the answer does not say whether object lock is on")
        rule = told.get("Rule")
        if rule is None:
            return True, "none", 0.0
        retention = rule.get("DefaultRetention", {})
        mode, days = str(retention.get("Mode", "")).lower(), retention.get("Days", 365 * retention.get("Years", 0))
        if mode not in {"governance", "compliance"} or not days:
            raise _NotToldError("the answer has a default retention without a mode or a length")
        return True, mode, days * _DAY

    def _encryption(self) -> str:
        answer = self._setting(
            "get_bucket_encryption",
            "ServerSideEncryptionConfiguration",
            ("ServerSideEncryptionConfigurationNotFoundError",),
        )
        if answer is None:
            return "none"
        rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules") or []
        found = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules]
        if not found or not all(found):
            raise _NotToldError("the answer names no encryption")
        return ", ".join(sorted(set(found)))

    def _deletions(self) -> tuple[DeletionRule, ...]:
        answer = self._setting(
            "get_bucket_lifecycle_configuration",
            "LifecycleConfiguration",
            ("NoSuchLifecycleConfiguration", *_NO_FEATURE),
        )
        if answer is None:
            return ()
        if not answer.get("Rules"):
            raise _NotToldError("the answer holds no rule")
        rules = [
            _rule(number, rule) for number, rule in enumerate(answer["Rules"], 1) if rule.get("Status") == "Enabled"
        ]
        found = [rule for rule in rules if rule is not None]
        self._probe_days = self._gone_after(found)
        return tuple(rule for rule in found if self._touches(rule.prefix))

    def _gone_after(self, rules: Sequence[DeletionRule]) -> float | None:
        """Days after which rules remove a probe for good: where versions are kept, what is hidden stays."""
        here = [one for one in rules if self._declared.probe_prefix.startswith(one.prefix) and not one.narrowed]
        days = [one.current_days for one in here if one.current_days is not None]
        hidden = [one.noncurrent_days for one in here if one.noncurrent_days is not None]
        if not days or (self._versioning != "off" and not hidden):
            return None
        return min(days) + (min(hidden) if self._versioning != "off" else 0)

    def _probes(self) -> int:
        """One page: whoever has more of them is told so."""
        asked: dict[str, Any] = {"Prefix": self._declared.probe_prefix, "MaxKeys": MOST_PROBES}
        operation = "list_objects_v2" if self._versioning == "off" else "list_object_versions"
        page = self._client.ask(operation, "probes", **asked)
        if page.get("Root") not in LISTINGS:
            raise _NotToldError("the answer is no listing")
        if self._versioning == "off":
            return len(page.get("Contents") or ())
        return len(page.get("Versions") or ()) + len(page.get("DeleteMarkers") or ())

    def _touches(self, prefix: str) -> bool:
        ours = self._declared.prefix
        if not ours and prefix.startswith(self._declared.probe_prefix):
            return False
        return prefix.startswith(ours) or ours.startswith(prefix)

    def _replication(self) -> str:
        answer = self._setting(
            "get_bucket_replication",
            "ReplicationConfiguration",
            ("ReplicationConfigurationNotFoundError", *_NO_FEATURE),
        )
        if answer is None:
            return "none"
        rules = answer.get("ReplicationConfiguration", {}).get("Rules") or []
        to = [(rule.get("Status"), rule.get("Destination", {}).get("Bucket")) for rule in rules]
        if not to or not all(status and bucket for status, bucket in to):
            raise _NotToldError("the answer names no rule with a destination")
        on = sorted({str(bucket) for status, bucket in to if status == "Enabled"})
        return f"to {', '.join(on)}" if on else f"disabled, to {', '.join(sorted({str(b) for _, b in to}))}"

    def _replicated(self) -> Mapping[str, int]:
        found, whole = self._listed()
        before = datetime.now(UTC) - REPLICATED_WITHIN
        old = sorted((one for one in found if one["LastModified"] <= before), key=lambda one: one["LastModified"])
        if not old:
            age = format_duration(REPLICATED_WITHIN.total_seconds())
            raise _NotToldError(f"there is no object older than {age} to look at")
        chosen = {one["Key"]: one for one in (*old[-_SAMPLE:], *old[:: -(-len(old) // _SAMPLE)])}
        self._raw["replication"] = {
            "listed": len(found), "whole_bucket": whole, "old_enough": len(old), "looked_at": len(chosen),
        }  # fmt: skip
        seen = [self._client.ask("head_object", key, Key=key) for key in chosen]
        return Counter(str(one.get("ReplicationStatus") or "none").lower() for one in seen)

    def _listed(self) -> tuple[Sequence[Mapping[str, Any]], bool]:
        """What there is, as far as `_PAGES` go; and whether that is all."""
        found: list[Mapping[str, Any]] = []
        asked: dict[str, Any] = {"Prefix": self._declared.prefix}
        for _ in range(_PAGES):
            page = self._client.ask("list_objects_v2", "", **asked)
            if page.get("Root") not in LISTINGS:
                raise _NotToldError("the answer is no listing")
            found += [one for one in page.get("Contents") or () if not self._is_probe(one)]
            if not page.get("IsTruncated") or not page.get("NextContinuationToken"):
                return found, not page.get("IsTruncated")
            asked["ContinuationToken"] = page["NextContinuationToken"]
        return found, False

    def _is_probe(self, one: Mapping[str, Any]) -> bool:
        return str(one["Key"]).startswith(self._declared.probe_prefix)

    def _location(self) -> str:
        answer = self._setting("get_bucket_location", "LocationConstraint", ())
        told = answer.get("LocationConstraint")
        if told:
            return "eu-west-1" if told == "EU" else str(told)
        if self._declared.endpoint is None:
            # AWS's first region has an empty name here.
            return "us-east-1"
        raise _NotToldError("the answer is empty")

    def _public(self) -> bool:
        """By trying without credentials, and by what is told of grants and policy. False needs all of these."""
        found = self._open_to_strangers() or self._granted() or self._allowed()
        if found:
            self._raw["public_by"] = found
        return bool(found)

    def _open_to_strangers(self) -> str:
        """What somebody without credentials can do, by trying."""
        if self._answers_stranger("list_objects_v2", "ListBucketResult", MaxKeys=1):
            return "the bucket can be listed without credentials"
        for one in list(self._sample)[:1]:
            if self._answers_stranger("head_object", "", Key=one["Key"]):
                return "an object can be read without credentials"
        return ""

    def _answers_stranger(self, operation: str, root: str, **parameters: Any) -> bool:
        try:
            answer = self._stranger.ask(operation, "without credentials", **parameters)
        except StoreDenied as error:
            self._raw[f"unsigned {operation}"] = error.what
            return False
        except ObjectMissing as error:
            raise _NotToldError(f"asked without credentials, the store answers {error.what}") from None
        if root and answer.get("Root") != root:
            raise _NotToldError("asked without credentials, the store answers what is no listing")
        return True

    def _granted(self) -> str:
        if self._blocked("IgnorePublicAcls"):
            return ""
        answer = self._access()
        grants = answer.get("Grants")
        if not grants and not answer.get("Owner", {}).get("ID"):
            raise _NotToldError("what is granted to whom is not told")
        for grant in grants or ():
            who = grant.get("Grantee", {}).get("URI", "")
            if who in _EVERYBODY:
                return f"{grant.get('Permission')} is granted to {who.rpartition('/')[2]}"
        return ""

    def _access(self) -> Mapping[str, Any]:
        if self._acl is None:
            self._acl = self._setting("get_bucket_acl", "AccessControlPolicy", ())
        return self._acl

    def _owner(self) -> str:
        told = (self._access().get("Owner") or {}).get("ID")
        if not told:
            raise _NotToldError("the answer names no owner")
        return str(told)

    def _allowed(self) -> str:
        if self._blocked("RestrictPublicBuckets"):
            return ""
        answer = self._client.ask("get_bucket_policy", absent=("NoSuchBucketPolicy",))
        if answer is None:
            return ""
        try:
            statements = json.loads(answer["Policy"])["Statement"]
        except (KeyError, TypeError, ValueError):
            raise _NotToldError("the store's answer is no policy") from None
        listed = statements if isinstance(statements, list) else [statements]
        if not all(isinstance(one, dict) for one in listed):
            raise _NotToldError("the store's answer is no policy")
        to_all = [one for one in listed if one.get("Effect") == "Allow" and _anybody(one)]
        for one in to_all:
            if not one.get("Condition"):
                actions = one.get("Action", "something")
                told = actions if isinstance(actions, str) else ", ".join(actions)
                return f"the bucket's policy allows {told} to everybody"
        if to_all:
            raise _NotToldError("the bucket's policy allows something to everybody on conditions")
        return ""

    def _blocked(self, how: str) -> bool:
        """Whether public access is blocked, whatever else is set; False also when that is not told."""
        if self._blocks is None:
            absent = ("NoSuchPublicAccessBlockConfiguration",)
            try:
                answer = self._setting("get_public_access_block", "PublicAccessBlockConfiguration", absent)
            except BudgetExceeded:
                raise
            except (StoreError, _NotToldError):
                answer = None
            self._blocks = (answer or {}).get("PublicAccessBlockConfiguration", {})
        return self._blocks.get(how) is True


def _setting(client: Client, operation: str, root: str, absent: Collection[str]) -> Any:
    answer = client.ask(operation, absent=absent)
    if answer is not None and answer.get("Root") != root:
        raise _NotToldError(f"the answer is not one: {root} was asked for, and {answer.get('Root') or 'nothing'} came")
    return answer


def read_versioning(client: Client) -> str:
    """enabled, suspended or off. Raises StoreError when the store does not tell."""
    try:
        answer = _setting(client, "get_bucket_versioning", "VersioningConfiguration", _NO_FEATURE)
    except _NotToldError as error:
        mend = "see whether the endpoint is that of an object store"
        raise StoreError(str(error), where=client.bucket, mend=mend) from None
    return "off" if answer is None else str(answer.get("Status") or "off").lower()


def _anybody(statement: Mapping[str, Any]) -> bool:
    who = statement.get("Principal")
    named = who.get("AWS", ()) if isinstance(who, Mapping) else who
    return "NotPrincipal" in statement or named == "*" or (not isinstance(named, str) and "*" in (named or ()))


def _rule(number: int, rule: Mapping[str, Any]) -> DeletionRule | None:
    """What it deletes; None for one that only moves, or tidies up what is no data."""
    chosen = rule.get("Filter") or {}
    both = chosen.get("And") or {}
    expiration = rule.get("Expiration") or {}
    current = expiration.get("Days")
    if expiration.get("Date") is not None:
        # On that date, and ever after: all of it, however young.
        current = 0
    noncurrent = (rule.get("NoncurrentVersionExpiration") or {}).get("NoncurrentDays")
    if current is None and noncurrent is None:
        return None
    return DeletionRule(
        id=str(rule.get("ID") or number),
        prefix=str(rule.get("Prefix") or chosen.get("Prefix") or both.get("Prefix") or ""),
        current_days=current,
        noncurrent_days=noncurrent,
        narrowed=bool(set(chosen) - {"Prefix", "And"} or set(both) - {"Prefix"}),
    )
