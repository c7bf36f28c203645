"""What every Store must do.

Subclass `StoreContract` in a test module and give it a fixture `place`, a
`StorePlace`: a bucket that holds what it says, opened as reader and as
writer. All keys are below a prefix; one more object lies outside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drtests.errors import ObjectDamaged, ObjectMissing, SafetyError, StoreError, StoreUnversioned
from drtests.protocols.store import Attackable, BucketFacts, ObjectFact, Store, TellsState
from drtests.testing.host_contract import require

_PROBE = "contract/one"


@dataclass(frozen=True, slots=True)
class StorePlace:
    """A bucket, and what it holds below the stores' prefix."""

    reader: Store
    writer: Store
    probes: str
    """The declared probe prefix."""
    history: Mapping[str, Sequence[bytes | None]]
    """By key, oldest first; None where it was deleted. One entry each where the bucket keeps no versions."""
    versioned: bool
    outside: str
    """Key of an object that lies outside the prefix, and is no probe."""
    snapshot: Callable[[], Mapping[str, object]]
    """All that the bucket holds, by key, probes included."""
    failing: Mapping[type[StoreError], Store]
    """Stores that cannot be listed, by the error that must say so."""
    secrets: Sequence[str] = field(repr=False)

    @property
    def latest(self) -> dict[str, bytes]:
        return {key: versions[-1] for key, versions in sorted(self.history.items()) if versions[-1] is not None}

    def others(self) -> Mapping[str, object]:
        """All but the probes."""
        return {key: value for key, value in self.snapshot().items() if not key.startswith(self.probes)}


class StoreContract:
    """The suite."""

    def test_tells_what_it_is(self, place: StorePlace) -> None:
        name, _, number = place.reader.version().partition(" ")
        require(bool(name) and number[:1].isdigit(), f"{place.reader.version()!r} is no name and version")
        require(bool(place.reader.id and place.reader.bucket), "no id, or no bucket")
        require(place.reader.prefix != "" and not place.outside.startswith(place.reader.prefix), "nothing is outside")

    def test_lists_objects_in_order(self, place: StorePlace) -> None:
        found = list(place.reader.objects())
        require([one.key for one in found] == list(place.latest), f"{[one.key for one in found]}")
        for one in found:
            require(one.size == len(place.latest[one.key]), f"{one.key}: {one.size} bytes")
            require(one.modified.tzinfo is not None, f"{one.key}: a time without a zone")
            require(one.latest and not one.deleted, f"{one.key}: not the latest, or deleted")

    def test_lists_below_a_longer_prefix(self, place: StorePlace) -> None:
        for key in place.latest:
            found = [one.key for one in place.reader.objects(key)]
            expected = [other for other in place.latest if other.startswith(key)]
            require(found == expected, f"{found} instead of {expected}")

    def test_lists_versions_newest_first(self, place: StorePlace) -> None:
        if not place.versioned:
            with pytest.raises(StoreUnversioned) as caught:
                list(place.reader.versions())
            _told(caught.value)
            return
        require(any(None in versions for versions in place.history.values()), "nothing was deleted")
        found = list(place.reader.versions())
        keys = [key for key, _ in itertools.groupby(found, key=lambda one: one.key)]
        require(keys == sorted(place.history), f"keys are {keys}")
        for key, group in itertools.groupby(found, key=lambda one: one.key):
            seen = [None if one.deleted else place.reader.read(key, one.version) for one in group]
            require(seen == list(reversed(place.history[key])), f"{key} is not in order")
        for one in found:
            require(bool(one.version), f"{one.key} without a version")
            require(one.latest == (one == next(other for other in found if other.key == one.key)), f"{one}: latest?")

    def test_reads(self, place: StorePlace) -> None:
        for key, data in place.latest.items():
            require(place.reader.read(key) == data, f"{key} is not what it holds")
            for limit in (0, 1, 3, len(data), len(data) + 5):
                require(place.reader.read(key, limit=limit) == data[:limit], f"the first {limit} bytes of {key}")

    def test_downloads(self, place: StorePlace, tmp_path: Path) -> None:
        require(b"" in place.latest.values(), "no empty object: nothing is proved of those")
        for number, fact in enumerate(place.reader.objects()):
            path = tmp_path / str(number)
            path.write_bytes(b"what was there before")
            digest = place.reader.download(fact, path)
            require(path.read_bytes() == place.latest[fact.key], f"{fact.key} is not what it holds")
            require(digest == hashlib.sha256(place.latest[fact.key]).hexdigest(), f"{digest} for {fact.key}")

    def test_downloads_old_versions(self, place: StorePlace, tmp_path: Path) -> None:
        if not place.versioned:
            pytest.skip("the bucket keeps no versions")
        old = [fact for fact in place.reader.versions() if not fact.latest and not fact.deleted]
        require(bool(old), "no old version: nothing is proved")
        for fact in old:
            place.reader.download(fact, tmp_path / "old")
            data = (tmp_path / "old").read_bytes()
            require(data in place.history[fact.key] and len(data) == fact.size, f"{fact.key} is no version of it")

    def test_download_of_what_is_not_as_listed(self, place: StorePlace, tmp_path: Path) -> None:
        fact = max(place.reader.objects(), key=lambda one: one.size)
        for wrong in (
            dataclasses.replace(fact, size=fact.size + 1),
            dataclasses.replace(fact, size=fact.size - 1),
            dataclasses.replace(fact, etag="0" * 32),
        ):
            with pytest.raises(ObjectDamaged) as caught:
                place.reader.download(wrong, tmp_path / "wrong")
            _told(caught.value)
            require(not (tmp_path / "wrong").exists(), "what is damaged was left as if it were whole")

    def test_nothing_there(self, place: StorePlace, tmp_path: Path) -> None:
        key = f"{place.reader.prefix}no/such/key"
        require(list(place.reader.objects(key)) == [], "listed what is not there")
        some = next(place.reader.objects())
        for ask in (
            lambda: place.reader.read(key),
            lambda: place.reader.download(dataclasses.replace(some, key=key), tmp_path / "none"),
        ):
            with pytest.raises(ObjectMissing) as caught:
                ask()
            _told(caught.value)
        require(not (tmp_path / "none").exists(), "a file for nothing")

    def test_stays_within_its_prefix(self, place: StorePlace) -> None:
        asks: tuple[Callable[[], object], ...] = (
            lambda: place.reader.read(place.outside),
            lambda: list(place.reader.objects(place.outside)),
            lambda: list(place.reader.versions(place.outside)),
        )
        for ask in asks:
            with pytest.raises(SafetyError):
                ask()

    def test_writes_nothing_but_probes(self, place: StorePlace) -> None:
        before = place.snapshot()
        some = next(iter(place.latest))
        keys = (some, place.outside, "", "x", place.probes, place.probes.rstrip("/"), f"{place.probes.rstrip('/')}2/x")
        for key in keys:
            for act in (place.writer.write, lambda key, _: place.writer.delete(key)):
                with pytest.raises(SafetyError) as caught:
                    act(key, b"never")
                require(bool(caught.value.mend), "no mend")
        require(place.snapshot() == before, "the bucket was changed")

    def test_writes_and_deletes_a_probe(self, place: StorePlace) -> None:
        key = place.probes + _PROBE
        version = place.writer.write(key, b"probe")
        require((version is not None) == place.versioned, f"version {version!r}")
        require(place.reader.read(key, version) == b"probe", "the probe is not what was written")
        require(key not in [one.key for one in place.reader.objects()], "a probe is listed")
        if isinstance(place.reader, TellsState):
            require(place.reader.state(key).version == version, "another version")
        marker = place.writer.delete(key)
        require((marker is not None) == place.versioned, f"delete marker {marker!r}")
        with pytest.raises(ObjectMissing):
            place.reader.read(key)
        if place.versioned:
            require(place.reader.read(key, version) == b"probe", "the version went, too")
            place.writer.delete(key, marker)
            place.writer.delete(key, version)
        require(key not in place.snapshot(), "the probe is still there")

    def test_reader_never_writes(self, place: StorePlace, tmp_path: Path) -> None:
        before = place.snapshot()
        require(bool(before), "the bucket is empty: nothing is proved")
        place.reader.facts()
        for fact in place.reader.objects():
            place.reader.download(fact, tmp_path / "x")
        with pytest.raises(SafetyError):
            place.reader.write(place.probes + _PROBE, b"never")
        require(place.snapshot() == before, "the bucket was changed")

    def test_facts_say_what_is_not_known(self, place: StorePlace) -> None:
        facts = place.reader.facts()
        # Of these None is an answer, or no question.
        answers = {"unknown", "raw", "replicated", "probe_days"}
        names = {one.name for one in dataclasses.fields(BucketFacts)} - answers
        for name in names:
            known = getattr(facts, name) is not None
            require(known or bool(facts.unknown.get(name)), f"{name} is not known, and not why")
        if place.versioned:
            require(facts.versioning == "enabled", f"versioning is {facts.versioning}")
        require(all(secret not in repr(facts) for secret in place.secrets), "a secret is in the facts")

    def test_counts(self, place: StorePlace, tmp_path: Path) -> None:
        usage = dataclasses.replace(place.reader.usage)
        facts = list(place.reader.objects())
        require(place.reader.usage.writes > usage.writes, "a listing was not counted")
        for fact in facts:
            place.reader.download(fact, tmp_path / "x")
        after = place.reader.usage
        require(after.reads - usage.reads >= len(facts), "a download was not counted")
        came = sum(fact.size for fact in facts)
        require(after.bytes_out - usage.bytes_out == came, f"{after.bytes_out - usage.bytes_out} bytes, not {came}")
        require(after.reserved == 0, "bytes are set aside for a download that has ended")

    def test_several_threads(self, place: StorePlace, tmp_path: Path) -> None:
        def bring(numbered: tuple[int, ObjectFact]) -> bool:
            number, fact = numbered
            place.reader.download(fact, tmp_path / str(number))
            return (tmp_path / str(number)).read_bytes() == place.latest[fact.key]

        facts = list(place.reader.objects()) * 8
        usage = dataclasses.replace(place.reader.usage)
        with ThreadPoolExecutor(8) as pool:
            require(all(pool.map(bring, enumerate(facts))), "a thread got what another asked for")
        after = place.reader.usage
        came = sum(fact.size for fact in facts)
        require(after.reads - usage.reads == len(facts), f"{after.reads - usage.reads} reads, not {len(facts)}")
        require(after.bytes_out - usage.bytes_out == came, "bytes went uncounted")

    def test_failures_have_names(self, place: StorePlace) -> None:
        require(bool(place.failing), "no store that fails: nothing is proved")
        for kind, store in place.failing.items():
            with pytest.raises(StoreError) as caught:
                list(store.objects())
            require(type(caught.value) is kind, f"{caught.value!r} instead of {kind.__name__}")
            _told(caught.value)
            told = f"{caught.value.diagnostics()[0]} {caught.value!r}"
            require(all(secret not in told for secret in place.secrets), "a secret is in the error")

    def test_keeps_its_secrets(self, place: StorePlace) -> None:
        for store in (place.reader, place.writer):
            require(all(secret not in repr(store) for secret in place.secrets), "a secret is in the store's repr")

    def test_attack_touches_nothing_but_its_probes(self, place: StorePlace) -> None:
        writer = place.writer
        if not isinstance(writer, Attackable):
            pytest.skip("it cannot be attacked")
        with pytest.raises(SafetyError):
            place.reader.attack(place.reader)  # type: ignore[attr-defined] # of the same class as the writer
        before = place.others()
        report = writer.attack(place.reader)
        require(report.failed == "", report.failed)
        require({"overwrite", "delete"} <= {one.action for one in report.attempts}, f"{report}")
        require(all(one.key.startswith(place.probes) for one in report.attempts if one.key), f"{report}")
        require(place.others() == before, "something else was touched")
        left = {one.key for one in report.left}
        require({key for key in place.snapshot() if key.startswith(place.probes)} <= left, "probes are left, untold")


def _told(error: StoreError) -> None:
    told = error.diagnostics()[0]
    require(bool(told.what and told.where and told.mend), f"what, where and mend are not all told: {told}")
    require("Traceback" not in str(told), str(told))
