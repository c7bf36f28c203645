"""Loading targets/: every mistake is told with its file, line, and mend; all of them at once."""

from __future__ import annotations

import gc
import hashlib
import re
import textwrap
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from drtests.declarations.checks import build_checks
from drtests.declarations.load import load_project, load_texts
from drtests.errors import ConfigurationError, Diagnostic

CHECKOUT = Path(__file__).resolve().parents[2]

BIA = """\
version: 1
processes:
  - id: teaching
    name: Teaching
    owner: anna
    mtpd: 2d
    rto: 4h
    wrt: 4h
    rpo: 26h
    dependencies: [records]
"""
ESTATE = """\
version: 1
organisation:
  name: School
people:
  - {id: anna, name: Anna}
  - {id: bram, name: Bram, deputy: anna}
sites:
  - {id: main, name: Main}
repositories:
  - id: nas
    location: repositories/nas
    password: env:RESTIC_PASSWORD
    site: main
staging:
  - id: scratch
    path: staging
    disposable: true
"""
RECORDS = """\
version: 1
name: Records
owner: bram
sources:
  - path: production/records
backups:
  - repository: nas
    interval: 24h
restore:
  staging: scratch
start:
  - name: app
    run: [python3, app.py]
    background: true
    ready: {tcp: "127.0.0.1:80"}
checks:
  - files: {path: srv, min_count: 3}
  - tree: {path: srv}
"""
TEXTS: dict[str, str] = {"bia.yaml": BIA, "estate.yaml": ESTATE, "systems/records.yaml": RECORDS}


def write(root: Path, texts: Mapping[str, str | bytes]) -> Path:
    for name, text in texts.items():
        file = root / "targets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def problems(root: Path) -> tuple[Diagnostic, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_project(root)
    return tuple(caught.value.diagnostics())


def test_what_is_right_loads(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, TEXTS))
    assert set(project.systems) == {"records"}
    objectives = project.objectives["records"]
    assert objectives.rto is not None
    assert (objectives.rto.limit, objectives.rto.bound_by) == (timedelta(hours=4), "process:teaching")
    expected = {f"targets/{name}": hashlib.sha256(text.encode()).hexdigest() for name, text in TEXTS.items()}
    assert project.digests == expected
    assert [(c.kind, c.check.proves_data) for c in build_checks(project.systems["records"])] == [
        ("files", False),
        ("tree", True),
    ]


def test_the_demo_loads() -> None:
    assert set(load_project(CHECKOUT).systems) == {"file-share", "student-records", "timetable", "website"}


FILE = {"bia": "bia.yaml", "estate": "estate.yaml", "records": "systems/records.yaml"}
# file, what is there, what is written instead, `file:line:column`, what is told, the mend
Case = tuple[str, str, str, str, str, str]
CASES: dict[str, Case] = {
    "unknown key": ("bia", "rto: 4h", "rtoo: 4h", "bia:7:5", "unknown key 'rtoo'", "did you mean 'rto'?"),
    "unknown key of a list item": (
        "estate", "{id: main, name: Main}", "{id: main, nam: Main}", "estate:8:16",
        "unknown key 'nam'", "did you mean 'name'?",
    ),
    "missing key": ("bia", "    owner: anna\n", "", "bia:3:5", "'owner' is missing", "owner"),
    "no unit": ("bia", "rto: 4h", "rto: 4", "bia:7:10", "'4' is not a duration (a number without a unit)", "4h"),
    "empty value": ("bia", "rto: 4h", "rto:", "bia:7:9", "'rto' is empty", "give it a value"),
    "beyond all reckoning": ("bia", "mtpd: 2d", "mtpd: 99999999999w", "bia:6:11",
                             "'99999999999w' is longer than 100 years", "its unit"),
    "a list for a duration": ("bia", "rto: 4h", "rto: [~]", "bia:7:5", "a list is not a duration", "4h"),
    "empty, where several forms are allowed": (
        "records", "- files: {path: srv, min_count: 3}", '- http: {url: "http://[::1]/", status: }',
        "records:17:42", "'status' is empty", "give it a value",
    ),
    "enumeration": (
        "bia", "rto: 4h", "rto: 4h\n    criticality: hihg", "bia:8:18",
        "'hihg' is not allowed here", "did you mean 'high'? allowed here: low, medium, high, critical",
    ),
    "not an id": ("bia", "id: teaching", "id: Teaching!", "bia:3:9", "'Teaching!' is not an id", "lower case"),
    "not a dependency": ("bia", "[records]", "[Records!]", "bia:10:20", "'Records!' is not an id", "lower"),
    "text for a list": ("bia", "[records]", "records", "bia:10:19", "'records' is not a list", "`- `"),
    "a list for text": ("bia", "name: Teaching", "name: [x]", "bia:4:5", "a list is not text", "text"),
    "text for a mapping": ("estate", "organisation:\n  name: School", "organisation: School", "estate:2:15",
                           "'School' is not a mapping", "key: value"),
    "yes is no boolean": ("estate", "disposable: true", "disposable: yes", "estate:17:17",
                          "'yes' is not true or false", "true or false"),
    "a number out of bounds": ("estate", "site: main\n", "integrity: {parts: 0}\n", "estate:13:24",
                               "'0' is not 1 or more", "1 or more"),
    "nothing in a list": ("estate", "\n  - {id: anna, name: Anna}\n  - {id: bram, name: Bram, deputy: anna}", " []",
                          "estate:4:1", "'people' holds 0", "at least 1"),
    "credentials in a location": (
        "estate", "repositories/nas\n", "rest:http://joe:hunter2@nas/\n", "estate:11:15",
        "a password in the location would end up in argv", "by reference",
    ),
    "credentials without a user": (
        "estate", "repositories/nas\n", "rest:https://:hunter2@nas/\n", "estate:11:15",
        "a password in the location would end up in argv", "by reference",
    ),
    "credentials with a slash": (
        "estate", "repositories/nas\n", "s3:https://joe:hun/hunter2@nas/\n", "estate:11:15",
        "a password in the location would end up in argv", "by reference",
    ),
    "a bare password": ("estate", "env:RESTIC_PASSWORD", "hunter2", "estate:12:15",
                        "a secret is given by reference only", ""),
    "a bare value for the engine": ("estate", "site: main\n", "environment: {KEY: hunter2}\n", "estate:13:24",
                                    "a secret is given by reference only", "plain:value"),
    "point": ("records", "staging: scratch", "staging: scratch\n  point: newest", "records:11:10",
              "'newest' is no choice of a recovery point", ""),
    "point without a zone": (
        "records", "staging: scratch", "staging: scratch\n  point: {before: 2026-03-01 04:00}",
        "records:11:19", "'2026-03-01 04:00' has no time zone", "add Z or an offset",
    ),
    "twice the same key": ("bia", "rto: 4h", "rto: 4h\n    rto: 5h", "bia:8:5",
                           "key 'rto' is given twice, first on line 7", "keep one"),
    "tab": ("bia", "    owner: anna", "\towner: anna", "bia:5:1", "a tab", "spaces"),
    "two documents": ("bia", "    dependencies: [records]\n", "---\na: 1\n", "bia:10:1",
                      "a second document starts here", "remove `---`"),
    "bracket left open": ("bia", "[records]", "[records", "bia:10:27", "closing bracket is missing", "brackets"),
    "merge key": ("bia", "    rto: 4h", "    <<: {rto: 4h}", "bia:7:5", "merge keys", "write the keys out"),
    "tag": ("bia", "rto: 4h", "rto: !!python/name:os.system 4h", "bia:7:10", "tag '!!python/name", "remove"),
    "duplicate person": ("estate", "id: bram", "id: anna", "estate:6:10",
                         "id 'anna' is taken already, at targets/estate.yaml:5:10", "of its own"),
    "process named as a system": ("bia", "id: teaching", "id: records", "bia:3:9",
                                  "'records' is the id of a process and of a system", "rename"),
    "duplicate backup": (
        "records", "    interval: 24h\n", "    interval: 24h\n  - repository: nas\n    interval: 1h\n",
        "records:9:5", "id 'backup' is taken already", "of its own",
    ),
    "no such owner": ("bia", "owner: anna", "owner: ana", "bia:5:12", "there is no person 'ana'", "'anna'?"),
    "no such deputy": ("estate", "deputy: anna", "deputy: x", "estate:6:36", "there is no person 'x'", "anna, bram"),
    "no such site": ("estate", "site: main", "site: mian", "estate:13:11", "there is no site 'mian'", "'main'?"),
    "no such repository": ("records", "repository: nas", "repository: nsa", "records:7:17",
                           "there is no repository 'nsa'", "'nas'?"),
    "no such staging": ("records", "staging: scratch", "staging: scrach", "records:10:12",
                        "there is no staging 'scrach'", "'scratch'?"),
    "no such backup": ("records", "staging: scratch", "staging: scratch\n  backup: bakcup",
                       "records:11:11", "there is no backup of this system 'bakcup'", "'backup'?"),
    "no such host": ("records", "path: production/records", "path: p\n    host: far",
                     "records:6:11", "there is no host 'far'", "local"),
    "no such dependency": ("bia", "[records]", "[records, recods]", "bia:10:29",
                           "there is no system or process 'recods'", "'records'?"),
    "no such engine": ("estate", "site: main\n", "engine: restc\n", "estate:13:13", "there is no engine 'restc'",
                       "'restic'?"),
    "no such type of host": ("estate", "staging:", "hosts: [{id: far, type: locale}]\nstaging:", "estate:14:25",
                             "there is no type of host 'locale'", "'local'?"),
    "no such zone": ("estate", "name: School", "name: School\n  timezone: Europe/Amsterdm", "estate:4:13",
                     "there is no time zone 'Europe/Amsterdm'", "'Europe/Amsterdam'?"),
    "too late to matter": ("bia", "wrt: 4h", "wrt: 2d", "bia:7:10",
                           "RTO and WRT together take 2d4h, longer than the MTPD of 2d", "mtpd"),
    "depends on itself": ("records", "name: Records", "name: Records\ndependencies: [records]",
                          "records:3:16", "systems need each other: records -> records", "remove it"),
    "not disposable": ("estate", "    disposable: true\n", "", "estate:15:5", "not declared disposable", "true"),
    "staging is a source": ("estate", "path: staging", "path: production/records", "estate:16:11",
                            "is production data of system 'records'", "nothing to do with production"),
    "staging around a source": ("estate", "path: staging", "path: ./x/../production", "estate:16:11",
                                "contains production data of system 'records'", ""),
    "staging inside a source": ("estate", "path: staging", "path: production/records/tmp", "estate:16:11",
                                "is inside production data of system 'records'", ""),
    "staging around the repository": ("estate", "path: staging", "path: repositories", "estate:16:11",
                                      "contains repository 'nas'", ""),
    "staging in targets": ("estate", "path: staging", "path: targets/x", "estate:16:11",
                           "is inside the declarations", ""),
    "staging is everything": ("estate", "path: staging", "path: /", "estate:16:11", "contains the declarations", ""),
    "two stagings overlap": (
        "estate", "staging:\n", "staging:\n  - {id: other, path: staging/below, disposable: true}\n",
        "estate:17:11", "contains staging 'other'", "of its own",
    ),
    "unknown check": ("records", "- tree:", "- tre:", "records:18:5",
                      "there is no kind of check 'tre'", "did you mean 'tree'?"),
    "unknown option of a check": ("records", "min_count: 3", "mincount: 3", "records:17:24",
                                  "unknown key 'mincount'", "did you mean 'min_count'?"),
    "wrong option of a check": ("records", "min_count: 3", "min_count: x", "records:17:35",
                                "'x' is not a whole number", "whole number"),
    "options that do not go together": ("records", ", min_count: 3", "", "records:17:5",
                                        "give at least one of", ""),
    "check without options": ("records", "- tree: {path: srv}", "- tree", "records:18:5", "tree", ""),
    "check of two kinds": ("records", "- tree: {path: srv}", "- {tree: {}, http: {}}", "records:18:5",
                           "a check has one kind", ""),
    "dotted path that leads nowhere": (
        "records", "- tree: {path: srv}", "- no_such.module:Check: {}", "records:18:5",
        "cannot be imported from 'no_such.module:Check'", "package.module:Class",
    ),
    "no check proves data": ("records", "  - tree: {path: srv}\n", "", "records:16:1",
                             "no check proves the restored data", "tree"),
    "background without ready": ("records", '    ready: {tcp: "127.0.0.1:80"}\n', "", "records:14:5",
                                 "nothing tells when the service 'app' is up", "ready"),
    "ready without background": ("records", "    background: true\n", "", "records:14:5",
                                 "never asked whether it is up", "background: true"),
    "cwd leads out": ("records", "name: app", "name: app\n    cwd: srv/../..", "records:13:10",
                      "leads out of the restored tree", "below"),
    "cwd is absolute": ("records", "name: app", "name: app\n    cwd: /etc", "records:13:10",
                        "leads out of the restored tree", "below"),
    "nobody needs it": ("bia", "    dependencies: [records]\n", "", "records:1:1",
                        "no process needs system 'records', and it has no rto and no rpo of its own", "bia.yaml"),
    "needed softly only": ("bia", "[records]", "[{target: records, type: soft}]", "records:1:1",
                           "no process needs system 'records'", "a hard one"),
}  # fmt: skip


def spoilt(file: str, old: str, new: str) -> dict[str, str]:
    text = TEXTS[FILE[file]]
    assert old in text
    return {**TEXTS, FILE[file]: text.replace(old, new, 1)}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_mistake_is_told(tmp_path: Path, case: Case) -> None:
    file, old, new, where, what, mend = case
    found = problems(write(tmp_path, spoilt(file, old, new)))
    place, _, line = where.partition(":")
    assert [problem.where for problem in found if what in problem.what] == [f"targets/{FILE[place]}:{line}"], found
    told = next(problem for problem in found if what in problem.what)
    assert mend in told.mend
    for problem in found:
        assert not re.search(r"hunter2|https://errors|Input should|validation error|pydantic", str(problem))


@pytest.mark.parametrize("name", list(CASES))
def test_one_mistake_is_told_once(tmp_path: Path, name: str) -> None:
    write(tmp_path, spoilt(*CASES[name][:3]))
    more = {"process named as a system", "duplicate person"}  # these break two rules
    assert len(problems(tmp_path)) == (2 if name in more else 1)


def test_all_mistakes_of_all_files_at_once(tmp_path: Path) -> None:
    texts = {
        "bia.yaml": BIA.replace("rto: 4h", "rto: 4").replace("wrt: 4h", "wtr: 4h"),
        "estate.yaml": ESTATE.replace("deputy: anna", "deputy: x").replace("disposable: true", "disposable: false"),
        "systems/records.yaml": RECORDS.replace("bram", "brm").replace("tree", "tre"),
        "systems/broken.yaml": "a: [",
    }
    found = [(p.where.rsplit(":", 1)[0], p.what) for p in problems(write(tmp_path, texts))]
    assert [where for where, _ in found] == [
        "targets/bia.yaml:7",
        "targets/bia.yaml:8",
        "targets/estate.yaml:6",
        "targets/estate.yaml:17",
        "targets/systems/broken.yaml:1",
        "targets/systems/records.yaml:3",
        "targets/systems/records.yaml:18",
    ]


FILES: dict[str, tuple[Mapping[str, str | bytes | None], str, str, str]] = {
    "missing bia": ({"bia.yaml": None}, "bia.yaml", "the file is missing", "drtests init"),
    "bia.yml": ({"bia.yaml": None, "bia.yml": BIA}, "bia.yaml", "the file is missing", "rename"),
    "missing estate": ({"estate.yaml": None}, "estate.yaml", "the file is missing", "drtests init"),
    "empty": ({"estate.yaml": ""}, "estate.yaml:1", "the file is empty", "drtests init"),
    "only a comment": ({"estate.yaml": "# x\n"}, "estate.yaml:1", "the file is empty", "drtests init"),
    "a list": ({"estate.yaml": "\n- a\n"}, "estate.yaml:2:1", "the file is not a mapping", ""),
    "Latin-1": ({"estate.yaml": "version: 1\nname: caf\xe9".encode("latin-1")}, "estate.yaml:2:10", "0xe9", "UTF-8"),
    "control": ({"estate.yaml": "version: 1\nname: a\x07"}, "estate.yaml:2:8", "character U+0007", "remove"),
    "too deep": ({"estate.yaml": "a: " + "[" * 900 + " " * 5_000}, "estate.yaml:1:53", "nested more than", "brackets"),
    "deep blocks": ({"estate.yaml": "- " * 50_000 + "x"}, "estate.yaml:1:101", "nested more than", "brackets"),
    "too large": ({"estate.yaml": "# " + "x" * 17 * 1024**2}, "estate.yaml", "larger than 16 MiB", "split"),
    "recursion": ({"estate.yaml": "a: &x [*x]"}, "estate.yaml:1:4", "holds itself", "write it out"),
    "two endings": ({"systems/records.yml": RECORDS}, "systems/records.yml", "declared already", "remove one"),
    "no id": ({"systems/Über Alles.yaml": RECORDS}, "systems/Über Alles.yaml", "is no id", "ber-alles.yaml"),
    "hidden": ({"systems/.records.yaml": RECORDS}, "systems/.records.yaml", "is no id", "rename"),
    "misspelt ending": ({"systems/b.yalm": RECORDS}, "systems/b.yalm", "is not read", ".yaml"),
    "folder": ({"systems/b/c.yaml": RECORDS}, "systems/b", "are not read", "move the files up"),
    "no system": ({"systems/records.yaml": None, "systems/x.txt": ""}, "systems", "no system is declared", "one file"),
    "no folder": ({"systems/records.yaml": None}, "systems", "the folder is missing", "one file"),
}


@pytest.mark.parametrize("case", FILES.values(), ids=FILES.keys())
def test_every_file_that_cannot_be_read_is_told(
    tmp_path: Path, case: tuple[Mapping[str, str | bytes | None], str, str, str]
) -> None:
    changed, where, what, mend = case
    texts = {name: text for name, text in {**TEXTS, **changed}.items() if text is not None}
    found = problems(write(tmp_path, texts))
    told = [problem for problem in found if what in problem.what]
    assert [problem.where for problem in told] == [f"targets/{where}"], found
    assert mend in told[0].mend


def test_far_too_deep_is_told_by_whichever_limit_comes_first(tmp_path: Path) -> None:
    [told] = problems(write(tmp_path, {**TEXTS, "estate.yaml": "a: " + "[" * 50_000}))
    assert told.where is not None
    assert told.where.startswith("targets/estate.yaml:1:")
    assert "nested more than" in told.what


@pytest.mark.parametrize(
    "location",
    [
        "rest:https://joe@nas:8000/a@b",
        "rest:http://[::1]:8000/a@b",
        "rest:http://nas:8000/joe@school",
        "s3:http://127.0.0.1:9000/bucket/x",
        "s3:s3.amazonaws.com/bucket",
        "sftp:joe@nas:/srv/restic",
        "sftp://joe@nas:2222//srv/restic",
        "/srv/a:b@c",
    ],
)
def test_locations_without_a_password(tmp_path: Path, location: str) -> None:
    estate = ESTATE.replace("repositories/nas", f'"{location}"')
    assert load_project(write(tmp_path, TEXTS | {"estate.yaml": estate})).estate.repositories[0].location == location


def test_texts_are_judged_as_files_are(tmp_path: Path) -> None:
    texts = {f"targets/{name}": text for name, text in TEXTS.items()}
    here = load_texts(tmp_path, texts)
    assert not list(tmp_path.iterdir())
    assert here == load_project(write(tmp_path, TEXTS))
    for name in ("unknown key", "staging is a source", "no such owner", "wrong option of a check"):
        changed = spoilt(*CASES[name][:3])
        with pytest.raises(ConfigurationError) as caught:
            load_texts(tmp_path, {f"targets/{file}": text for file, text in changed.items()})
        assert tuple(caught.value.diagnostics()) == problems(write(tmp_path, changed))


def test_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    layers = "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(20))
    found = problems(write(tmp_path, {**TEXTS, "estate.yaml": f"a: &a [x]\n{layers}"}))
    assert any("aliases make" in problem.what for problem in found)


def test_anchors_work(tmp_path: Path) -> None:
    bia = BIA.replace("rto: 4h", "rto: &span 4h").replace("wrt: 4h", "wrt: *span")
    process = load_project(write(tmp_path, TEXTS | {"bia.yaml": bia})).bia.processes[0]
    assert process.wrt == process.rto == timedelta(hours=4)


def test_no_targets(tmp_path: Path) -> None:
    (found,) = problems(tmp_path)
    assert "there is no folder targets/" in found.what
    assert "drtests init" in found.mend


def test_words_and_times_stay_text(tmp_path: Path) -> None:
    changed = RECORDS.replace("name: Records", "name: no").replace(
        "name: app", "name: 12:30:45\n    environment: {on: 08}"
    )
    step = load_project(write(tmp_path, TEXTS | {"systems/records.yaml": changed})).systems["records"]
    assert step.name == "no"
    assert step.start[0].name == "12:30:45"
    assert step.start[0].environment == {"on": "08"}


def cycle(**bootstrap: int | None) -> dict[str, str]:
    """a needs c, b needs a, c needs b."""
    after = {"a": "c", "b": "a", "c": "b"}
    found: dict[str, str] = {"bia.yaml": BIA.replace("[records]", "[records, a]")}
    for name, number in bootstrap.items():
        order = "" if number is None else f"\nbootstrap: {number}"
        changed = RECORDS.replace("name: Records", f"name: Records\ndependencies: [{after[name]}]{order}")
        found[f"systems/{name}.yaml"] = changed
    return found


def test_a_cycle_with_a_complete_order_is_fine(tmp_path: Path) -> None:
    load_project(write(tmp_path, TEXTS | cycle(a=1, b=2, c=3)))


@pytest.mark.parametrize("last", [None, 2])
def test_a_cycle_without_one_is_named(tmp_path: Path, last: int | None) -> None:
    (found,) = problems(write(tmp_path, TEXTS | cycle(a=1, b=2, c=last)))
    assert found.what == "systems need each other: a -> c -> b -> a"
    assert found.where == "targets/systems/a.yaml:3:16"
    assert "bootstrap" in found.mend


def test_processes_that_need_each_other(tmp_path: Path) -> None:
    more = "  - {id: exams, name: Exams, owner: anna, rto: 1d, rpo: 1d, dependencies: [teaching]}\n"
    (found,) = problems(write(tmp_path, TEXTS | {"bia.yaml": BIA.replace("[records]", "[records, exams]") + more}))
    assert found.what == "processes need each other: exams -> teaching -> exams"
    assert found.where == "targets/bia.yaml:11:76"


def test_a_staging_elsewhere_does_not_overlap(tmp_path: Path) -> None:
    """The same path on another machine is another place; on another name for this machine it is not."""
    hosts = "hosts: [{{id: far, type: {type}}}]\nstaging:"
    estate = ESTATE.replace("path: staging", f"path: {tmp_path}/production\n    host: far")
    estate = estate.replace("location: repositories", f"location: {tmp_path}/repositories")
    far = estate.replace("staging:", hosts.format(type="tests.no_such:Host"), 1)
    assert load_project(write(tmp_path, TEXTS | {"estate.yaml": far})).estate.staging[0].host == "far"
    (found,) = problems(
        write(tmp_path, TEXTS | {"estate.yaml": estate.replace("staging:", hosts.format(type="local"), 1)})
    )
    assert "contains production data" in found.what


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path, {name: text for name, text in TEXTS.items() if name != "estate.yaml"})
    (tmp_path / "targets/estate.yaml").mkdir()  # the one kind of unreadable file that root cannot read either
    (found,) = problems(tmp_path)
    assert found.where == "targets/estate.yaml"
    assert "cannot be read" in found.what


def test_a_check_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = """
    from pydantic import BaseModel
    class Own:
        class Spec(BaseModel):
            queue: str
        def __init__(self, spec): self.spec = spec
        title = property(lambda self: "queue " + self.spec.queue)
        proves_data = True
    """
    (tmp_path / "own_check_module.py").write_text(textwrap.dedent(module))
    monkeypatch.syspath_prepend(str(tmp_path))
    own = RECORDS.replace("tree: {path: srv}", "own_check_module:Own: {queue: marks}\n    name: Own words")
    project = load_project(write(tmp_path, TEXTS | {"systems/records.yaml": own}))
    assert build_checks(project.systems["records"])[1].title == "Own words"
    wrong = own.replace("queue: marks", "queue: 3")
    (found,) = problems(write(tmp_path, TEXTS | {"systems/records.yaml": wrong}))
    assert found.where == "targets/systems/records.yaml:18:35"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(tmp_path: Path, enabled: bool) -> None:
    set_to: Callable[[], None] = gc.enable if enabled else gc.disable
    try:
        set_to()
        with pytest.raises(ConfigurationError):
            load_project(tmp_path)
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
