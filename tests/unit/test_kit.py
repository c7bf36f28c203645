"""The recovery kit: what is in it, what never is, and when it would not do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from drtests.core.kit import CopySeen, judge_copies, judge_copy, judge_keys
from drtests.declarations.load import load_project
from drtests.drill.hosts import open_host
from drtests.errors import (
    ConfigurationError,
    DrtestsError,
    HostError,
    ObjectDamaged,
    ObjectMissing,
    SafetyError,
    SecretError,
    StoreDenied,
    StoreUnreachable,
)
from drtests.kit.contents import declarations_digest
from drtests.kit.copies import copies, look_at
from drtests.kit.document import document
from drtests.kit.making import Made, make
from drtests.kit.markdown import block, code, table, text
from drtests.kit.places import Bucket, Folder
from drtests.kit.reading import read_kit
from drtests.model.kit import KeptKey
from drtests.model.project import Project
from drtests.model.verdict import Verdict
from drtests.protocols.host import Host
from drtests.protocols.store import ObjectFact, Store, StoreContext
from drtests.testing.memory_store import MemoryBucket, MemoryStore

MET, MISSED, INCONCLUSIVE = Verdict.MET, Verdict.MISSED, Verdict.INCONCLUSIVE
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MONTH = 30 * 86400.0
SECRET = "correct-horse-battery-staple"

BIA = "processes: [{id: p, name: Teaching, owner: anna, rto: 4h, rpo: 1d, mtpd: 2d, dependencies: [app, mail]}]\n"
ESTATE = """
organisation: {name: School}
sites: [{id: school, name: School}, {id: town, name: Town, kind: offsite}]
people:
  - {id: anna, name: "Anna | <b>de</b> *Boer*", phone: 06-1111, roles: [board], deputy: bram}
  - {id: bram, name: Bram}
hosts: [{id: local, site: school}]
repositories:
  - id: vault
    location: s3:https://s3.example/bucket
    password: file:secret
    offsite: true
    site: town
    environment: {AWS_ACCESS_KEY_ID: "env:DRTESTS_TEST_KEY", AWS_DEFAULT_REGION: "plain:eu-1"}
staging: [{id: s, path: scratch, disposable: true}]
kit:
  copies: [{path: away, site: town}]
  keys: [{repository: vault, kept: "Envelope at the notary, Almere", holders: [anna, bram]}]
"""
APP = """
name: Student app
backups: [{repository: vault, interval: 1d, snapshots: {tags: [app], paths: [/srv/app]}}]
restore: {staging: s, include: [/srv/app]}
dependencies: [mail]
databases: [{id: main, recipe: sqlite, path: srv/app/db}]
start:
  - {name: Serve it, run: [python3, -m, http.server, "8000"], cwd: srv/app, background: true,
     environment: {PORT: 8000}, ready: {tcp: "127.0.0.1:8000", within: 1m}}
checks: [{command: {run: ["true"], proves_data: true}}]
manual: [{name: Buy a server, duration: 2d}]
"""
MAIL = """
name: Mail
backups: [{repository: vault, interval: 1d}]
restore: {staging: s}
checks: [{command: {run: ["true"], proves_data: true}}]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRTESTS_TEST_KEY", "AK-" + SECRET)
    (tmp_path / "targets" / "systems").mkdir(parents=True)
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    for name, content in {"bia": BIA, "estate": ESTATE, "systems/app": APP, "systems/mail": MAIL}.items():
        (tmp_path / "targets" / f"{name}.yaml").write_text(content)
    return tmp_path


@pytest.fixture
def project(root: Path) -> Project:
    return load_project(root)


def made_of(project: Project, when: datetime = NOW) -> Made:
    return make(project, when, lambda host: open_host(project, host), with_tools=False)


def folder(project: Project, name: str) -> Folder:
    return Folder(open_host(project, None), str(project.root / name))


def seen(project: Project, when: datetime = NOW) -> CopySeen:
    def no_store(store: str, below: str | None) -> Store:
        raise SafetyError(store)

    [copy] = copies(project, lambda host: open_host(project, host), no_store)
    return look_at(project, copy, when).seen


def test_what_people_need_is_in_it(project: Project) -> None:
    files = {name: data.decode() for name, data in made_of(project).files.items()}
    runbook = files["runbooks/app.md"]
    assert "restic --repo s3:https://s3.example/bucket" in runbook
    assert "restore latest --target /restore/app --include=/srv/app --tag app --path /srv/app" in runbook
    for wanted in ("read -rs", "RESTIC_PASSWORD", "AWS_ACCESS_KEY_ID", "export AWS_DEFAULT_REGION=eu-1"):
        assert wanted in runbook
    for wanted in ("PORT=8000 python3 -m http.server 8000 &", "127.0.0.1:8000", "sqlite", "Buy a server", "2d"):
        assert wanted in runbook
    # What it needs comes first.
    assert files["plan.md"].index("Wave 1") < files["plan.md"].index("[mail]") < files["plan.md"].index("[app]")
    assert "06-1111" in files["contacts.md"]
    assert "Bram" in files["contacts.md"]
    assert "Envelope at the notary, Almere" in files["repositories.md"]
    assert "`file:secret`" in files["repositories.md"]
    told = json.loads(files["kit.json"])
    assert told["waves"] == [["mail"], ["app"]]
    assert told["declarations"] == declarations_digest(project)
    assert {tool["name"] for tool in told["tools"]} >= {"drtests", "python", "restic", "sqlite3"}
    assert files["declarations/targets/bia.yaml"] == BIA


def test_no_secret_is_anywhere_in_it(project: Project) -> None:
    for name, data in made_of(project).files.items():
        assert SECRET.encode() not in data, name


@pytest.mark.parametrize(
    "leak",
    [
        ("systems/app", "name: Student app", f"name: Student app, password {SECRET}"),
        ("systems/app", "PORT: 8000", f"PORT: AK-{SECRET}"),
        ("systems/mail", "name: Mail", "name: Mail\ndescription: smtp://me:hunter22@mail.example/"),
    ],
)
def test_a_secret_that_stands_in_the_declarations_stops_it(root: Path, leak: tuple[str, str, str]) -> None:
    file, old, new = leak
    path = root / "targets" / f"{file}.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SafetyError) as caught:
        made_of(load_project(root))
    assert SECRET not in str(caught.value.diagnostics())
    assert caught.value.mend


def test_a_secret_that_cannot_be_had_is_told_of(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRTESTS_TEST_KEY")
    assert any("env:DRTESTS_TEST_KEY" in note for note in made_of(project).notes)


def test_stock_tools_check_it(project: Project, root: Path) -> None:
    folder(project, "away").write(made_of(project).files)
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=root / "away", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    listed = {line.split("  ")[1] for line in (root / "away" / "SHA256SUMS").read_text().splitlines()}
    there = {path.relative_to(root / "away").as_posix() for path in (root / "away").rglob("*") if path.is_file()}
    assert there == listed | {"SHA256SUMS"}
    (root / "away" / "plan.md").write_text("all is well")
    again = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=root / "away", capture_output=True, check=False)
    assert again.returncode == 1


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")


def test_the_document_needs_nothing_but_itself(project: Project) -> None:
    page = made_of(project).files["recovery-kit.html"].decode()
    parser = _Parser()
    parser.feed(page)
    assert parser.links
    assert {link.removeprefix("#") for link in parser.links} <= set(parser.ids)
    assert {"runbook-app", "runbook-mail", "plan", "contacts", "repositories", "tools", "logbook"} <= set(parser.ids)
    assert not {"script", "img", "b"} & set(parser.tags)
    assert "Anna | &lt;b&gt;de&lt;/b&gt; *Boer*" in page
    assert "@page { size: A4" in page


def test_text_stays_text() -> None:
    nasty = "a | b `c` *d* <script>e</script> [f](g) # h\n- i"
    page = document("t", {"x.md": f"# {text(nasty)}\n\n{table(['h'], [[text(nasty)], [code(nasty)]])}{block([nasty])}"})
    assert "<script>" not in page
    assert "<em>" not in page
    assert page.count("<td>") == 2
    assert page.count("&lt;script&gt;") == 4
    assert table(["h"], []) == ""


def test_one_kit_takes_the_place_of_another_and_of_nothing_else(project: Project, root: Path) -> None:
    place, files = folder(project, "away"), made_of(project).files
    place.write({**files, "runbooks/gone.md": b"old"})
    place.write(files)
    assert not (root / "away" / "runbooks" / "gone.md").exists()
    assert read_kit(place).problems == ()
    (root / "precious").mkdir()
    (root / "precious" / "thesis").write_text("the only copy")
    with pytest.raises(SafetyError):
        folder(project, "precious").write(files)
    assert (root / "precious" / "thesis").read_text() == "the only copy"


class Objects(MemoryStore):
    """In memory; raises what it is given instead of telling what is there."""

    error: DrtestsError | None = None

    def objects(self, prefix: str = "") -> Iterator[ObjectFact]:
        if self.error is not None:
            raise self.error
        return super().objects(prefix)


@pytest.fixture
def bucket(root: Path) -> Project:
    store = """
stores:
  - {id: b, bucket: kits, endpoint: "https://s3.example", site: town,
     reader: {access_key: "env:A", secret_key: "env:B"}}
"""
    changed = ESTATE.replace("{path: away, site: town}", "{store: b}")
    (root / "targets" / "estate.yaml").write_text(changed + store)
    return load_project(root)


def test_a_bucket_is_only_written_to_where_there_is_a_kit_or_nothing(
    bucket: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Objects, "buckets", {"kits": MemoryBucket()})
    [declared] = bucket.estate.stores
    writes = Objects(StoreContext(declared.model_copy(update={"probe_prefix": "away/"}), "writer", {}))
    memory = Objects(StoreContext(declared, "reader", {}))
    place, files = Bucket("away", lambda: memory, lambda: writes), made_of(bucket).files
    place.write(files)
    place.write(files)
    assert read_kit(place).problems == ()
    for name in ("away/kit.json", "away/SHA256SUMS"):
        del Objects.buckets["kits"].versions[name]
    before = memory.read("away/plan.md")
    with pytest.raises(SafetyError, match="no recovery kit"):
        place.write({**files, "plan.md": b"another"})
    assert memory.read("away/plan.md") == before


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (StoreDenied("ExpiredToken"), INCONCLUSIVE),
        (SecretError("env:A is not set"), INCONCLUSIVE),
        (StoreUnreachable("no answer"), INCONCLUSIVE),
        (HostError("unknown host key"), INCONCLUSIVE),
        (ObjectDamaged("not what the store says it holds"), MISSED),
        (ObjectMissing("no such bucket"), MISSED),
    ],
)
def test_what_we_cannot_read_says_nothing_of_the_kit(bucket: Project, error: DrtestsError, wanted: Verdict) -> None:
    memory = Objects(StoreContext(bucket.estate.stores[0], "reader", {}))
    memory.error = error
    [copy] = copies(bucket, lambda host: open_host(bucket, host), lambda _store, _below: memory)
    found = look_at(bucket, copy, NOW).seen
    assert judge_copies([found], MONTH).verdict is wanted


def test_a_host_that_cannot_be_opened_says_nothing_of_the_kit(project: Project) -> None:
    def barred(_: str | None) -> Host:
        raise HostError("the host's key is not the one that is known")

    [copy] = copies(project, barred, lambda _store, _below: pytest.fail("no bucket is declared"))
    judged = judge_copies([look_at(project, copy, NOW).seen], MONTH)
    assert judged.verdict is INCONCLUSIVE
    assert "is not known: the host's key" in judged.reason


def _remove(name: str) -> Callable[[Path], None]:
    return lambda away: (away / name).unlink()


def _append(name: str) -> Callable[[Path], None]:
    def append(away: Path) -> None:
        (away / name).write_text((away / name).read_text() + "x")

    return append


def _nothing(away: Path) -> None: ...


@pytest.mark.parametrize(
    ("sabotage", "later", "wanted"),
    [
        (_nothing, timedelta(days=29), MET),
        (_nothing, timedelta(days=31), MISSED),
        (_nothing, -timedelta(days=1), INCONCLUSIVE),
        (_remove("plan.md"), timedelta(0), MISSED),
        (_remove("SHA256SUMS"), timedelta(0), MISSED),
        (_remove("kit.json"), timedelta(0), MISSED),
        (_append("runbooks/app.md"), timedelta(0), MISSED),
        (_append("kit.json"), timedelta(0), MISSED),
        (_append("SHA256SUMS"), timedelta(0), MISSED),
    ],
)
def test_a_copy_is_read_back(
    project: Project, root: Path, sabotage: Callable[[Path], None], later: timedelta, wanted: Verdict
) -> None:
    folder(project, "away").write(made_of(project).files)
    sabotage(root / "away")
    found = seen(project, NOW + later)
    assert judge_copies([found], MONTH).verdict is wanted


def test_a_changed_declaration_makes_it_stale_a_comment_does_not(project: Project, root: Path) -> None:
    folder(project, "away").write(made_of(project).files)
    mail = root / "targets" / "systems" / "mail.yaml"
    mail.write_text(f"# a remark\n{MAIL}")
    assert judge_copies([seen(load_project(root))], MONTH).verdict is MET
    mail.write_text(MAIL.replace("interval: 1d", "interval: 2d"))
    judged = judge_copies([seen(load_project(root))], MONTH)
    assert judged.verdict is MISSED
    assert "stale" in judged.reason


def test_no_copy_at_all_and_a_copy_at_home(project: Project, root: Path) -> None:
    assert judge_copies([seen(project)], MONTH).verdict is MISSED
    folder(project, "away").write(made_of(project).files)
    estate = root / "targets" / "estate.yaml"
    for site, wanted in (("{path: away, site: school}", MISSED), ("{path: away}", MISSED)):
        estate.write_text(ESTATE.replace("{path: away, site: town}", site))
        moved = load_project(root)
        folder(moved, "away").write(made_of(moved).files)
        assert judge_copies([seen(moved)], MONTH).verdict is wanted


GOOD = CopySeen("away", "town", True, True, "2026-03-01T12:00:00.000Z", 60.0, True)


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, MET),
        # That we cannot read it (expired keys, an unknown host key) says nothing of the kit.
        ({"unread": "denied"}, INCONCLUSIVE),
        ({"there": False}, MISSED),
        ({"problems": ("plan.md was changed",)}, MISSED),
        ({"same_declarations": False}, MISSED),
        ({"same_declarations": None}, INCONCLUSIVE),
        ({"age_seconds": None}, INCONCLUSIVE),
        ({"age_seconds": MONTH + 1}, MISSED),
        ({"age_seconds": -3600.0}, INCONCLUSIVE),
    ],
)
def test_one_copy(changed: dict[str, Any], wanted: Verdict) -> None:
    assert judge_copy(replace(GOOD, **changed), MONTH).verdict is wanted


@pytest.mark.parametrize(
    ("copies_seen", "wanted"),
    [
        ([], MISSED),
        ([replace(GOOD, offsite=False)], MISSED),
        ([replace(GOOD, offsite=None)], INCONCLUSIVE),
        ([replace(GOOD, offsite=False), GOOD], MET),
        ([replace(GOOD, there=False), GOOD], MET),
        ([replace(GOOD, there=False), replace(GOOD, there=False)], MISSED),
        ([replace(GOOD, there=False), replace(GOOD, unread="x")], INCONCLUSIVE),
        # Whether a good one is away is not known; of a lost one that is no matter.
        ([replace(GOOD, there=False), replace(GOOD, offsite=None)], INCONCLUSIVE),
        ([replace(GOOD, there=False), replace(GOOD, offsite=None, there=False)], MISSED),
    ],
)
def test_one_good_copy_away_from_production_is_needed(copies_seen: list[CopySeen], wanted: Verdict) -> None:
    assert judge_copies(copies_seen, MONTH).verdict is wanted


@pytest.mark.parametrize(
    ("kept", "wanted"),
    [
        (KeptKey(repository="vault", kept="safe", holders=("anna", "bram")), MET),
        (KeptKey(repository="vault", kept="safe", holders=("anna",)), MISSED),
        (KeptKey(repository="vault", kept="safe", holders=("anna", "anna")), MISSED),
        (KeptKey(repository="vault", kept="safe"), INCONCLUSIVE),
        (None, MISSED),
    ],
)
def test_keys_hang_on_no_single_person(project: Project, kept: KeptKey | None, wanted: Verdict) -> None:
    assert judge_keys(project, "vault", kept).verdict is wanted


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("site: town}]\n  keys", "site: nowhere}]\n  keys", "nowhere"),
        ("{path: away, site: town}", "{store: nowhere}", "nowhere"),
        ("{path: away, site: town}", "{path: away, host: nowhere}", "nowhere"),
        ("{path: away, site: town}", "{path: away, store: x}", "exactly one"),
        ("{path: away, site: town}", "{site: town}", "exactly one"),
        ("{repository: vault, kept", "{repository: nowhere, kept", "nowhere"),
        ("holders: [anna, bram]", "holders: [anna, nobody]", "nobody"),
        ("path: scratch", "path: away/scratch", "recovery kit"),
        ("path: scratch", "path: recovery-kit", "recovery kit"),
        ("    offsite: true", "    offsite: true\n    copy_of: nowhere", "nowhere"),
        ("    offsite: true", "    offsite: true\n    copy_of: vault", "vault"),
    ],
)
def test_what_is_declared_of_it_has_to_be_there(root: Path, old: str, new: str, word: str) -> None:
    assert old in ESTATE
    (root / "targets" / "estate.yaml").write_text(ESTATE.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        load_project(root)
    [problem] = caught.value.problems
    assert word in problem.what + problem.mend
    assert problem.where.startswith("targets/estate.yaml:")
