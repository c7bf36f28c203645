"""ResticEngine keeps the contract of engines, with every restic there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from drtests.errors import EngineError, EngineMissing, EngineTooOld, RepositoryMissing, WrongPassword
from drtests.hosts.local import LocalHost
from drtests.model.system import Snapshots
from drtests.protocols.engine import Engine
from drtests.testing.engine_contract import EngineContract, Held
from tests.support.restic import restic_version
from tests.support.restic_lab import PASSWORD, PATIENCE, Lab, powerless, script


@pytest.fixture
def engine(sound: Lab) -> Engine:
    return sound.engine()


@pytest.fixture
def held(sound: Lab) -> Sequence[Held]:
    return sound.held


@pytest.fixture
def host(sound: Lab) -> LocalHost:
    return sound.host


@pytest.fixture
def workplace(tmp_path: Path) -> str:
    folder = tmp_path / "workplace"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def fingerprint(sound: Lab) -> Callable[[], object]:
    return sound.fingerprint


@pytest.fixture
def secret() -> str:
    return PASSWORD


@pytest.fixture
def failing(sound: Lab, tmp_path: Path) -> Mapping[type[EngineError], Engine]:
    too_old_fake = script(tmp_path / "restic", "echo restic 0.13.1 compiled with go1.18 on linux/amd64")
    return {
        WrongPassword: sound.engine(password=f"not-{PASSWORD[:4]}"),
        RepositoryMissing: sound.engine(location=str(tmp_path / "nowhere")),
        EngineMissing: sound.engine(program=str(tmp_path / "no-restic")),
        EngineTooOld: sound.engine(program=too_old_fake),
    }


class TestResticEngine(EngineContract):
    pass


def test_tells_its_version(engine: Engine, restic_program: str) -> None:
    assert engine.version() == f"restic {restic_version(restic_program)}"


def test_what_is_not_restic(sound: Lab) -> None:
    with pytest.raises(EngineError, match="does not say which version"):
        sound.engine(program="true").version()


def test_reads_a_repository_it_may_not_write(sound: Lab, tmp_path: Path) -> None:
    """Rights count for root too, once it has none of its privileges."""
    lab = sound.copy(tmp_path)
    restic, touch = powerless(tmp_path / "restic", lab.program), powerless(tmp_path / "touch", "touch")
    for path in [*lab.repository.rglob("*"), lab.repository]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        done = lab.host.run([touch, str(lab.repository / "locks" / "mine")], timeout=60)
        assert done.exit_code != 0, "the repository can be written to: nothing is proved"
        engine = lab.engine(program=restic)
        engine.guard()
        point = engine.recovery_points(Snapshots())[-1]
        assert engine.statistics(point, PATIENCE).bytes > 0
        (tmp_path / "out").mkdir()
        engine.restore(point, str(tmp_path / "out"), timeout=PATIENCE)
        assert engine.verify(1, 1, PATIENCE).problems == ()
    finally:
        for path in [lab.repository, *lab.repository.rglob("*")]:
            path.chmod(0o700)


def test_works_with_a_cache_of_its_own(sound: Lab, tmp_path: Path) -> None:
    import dataclasses

    from drtests.engines.restic.engine import ResticEngine

    (tmp_path / "cache").mkdir()
    context = dataclasses.replace(sound.engine()._context, cache=str(tmp_path / "cache"))
    before = sound.fingerprint()
    assert len(ResticEngine(context).recovery_points(Snapshots())) == len(sound.held)
    assert any((tmp_path / "cache").iterdir())
    assert sound.fingerprint() == before


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RESTIC_PASSWORD_FILE", "/no/such/file"),
        ("RESTIC_PASSWORD_COMMAND", "echo another-password"),
        ("RESTIC_PASSWORD", "another-password"),
        ("RESTIC_REPOSITORY", "/no/such/repository"),
        ("RESTIC_REPOSITORY_FILE", "/no/such/file"),
        ("RESTIC_HOST", "no-such-host"),
        ("RESTIC_KEY_HINT", "0123abcd"),
    ],
)
def test_what_is_declared_counts_whatever_the_shell_has(
    sound: Lab, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert len(sound.engine().recovery_points(Snapshots())) == len(sound.held)
