"""The demo from its first line to its last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from demo.backups import jobs, restic
from demo.expect import SHORTFALL, Pack, first_run, newest_pack, second_run
from demo.postgres import Cluster, create_servers, search_path, servers
from demo.production import FileShare, StudentRecords, Website
from demo.s3 import make_keys, s3_server
from demo.sshd import HOST, make_host, ssh_server
from demo.timetable import Timetable
from demo.workdir import CHECKOUT, WorkDir, create, declared_port, existing, make_servers_folder

DAYS = 21
"""Nightly backups in each repository."""
STOPPED = 4
"""Nights without a dump of the student records."""
_RUN_TIMEOUT = 600.0
_CLEAN_UP_TIMEOUT = 60.0


def say(text: str = "") -> None:
    print(text, flush=True)


def nights(now: datetime) -> list[datetime]:
    """When backups ran: every night, some minutes earlier or later, the last one two hours ago."""
    return [now - timedelta(hours=2, days=back, minutes=(back * 7) % 11) for back in range(DAYS - 1, -1, -1)]


def play(directory: Path) -> int:
    """Builds the school, drills it, mends it, drills it again. 0 when all went as said."""
    restic()
    work = create(directory)
    make_keys(work)
    say("A school that does not exist, and its backups: Openbare Scholengroep De Vliet")
    say(f"  everything happens in {work.root}; servers listen on 127.0.0.1 only")
    with ExitStack() as stack:
        pid = stack.enter_context(s3_server(work))
        say(f"  an S3 server runs at http://{work.s3_address()} (process {pid})")
        make_servers_folder(work.servers)
        make_host(work)
        pid = stack.enter_context(ssh_server(work))
        say(
            f"  sshd runs on port {declared_port(work, HOST)} (process {pid}): the host that one system is recovered on"
        )
        create_servers(work)
        primary, standby = stack.enter_context(servers(work))
        say(f"  PostgreSQL runs on ports {primary.port} and {standby.port}: a primary, and a standby that follows it")
        records = _build(work, primary)
        standby.wait_for(primary)
        say()
        say("What is wrong, and no dashboard shows it:")
        say(f"  the nightly dump of the student records stopped {STOPPED} nights ago. Backups went on: restic")
        say("  saved the same old dump every night, and every backup was a success.")
        say(f"  So all drills should be MET but one: {SHORTFALL}.")
        say()
        code = _drtests(work)
        first = newest_pack(work.reports, None)
        wrong = list(first_run(code, first))
        if wrong or first is None:
            return _failed("first run", wrong, work)
        _tell(first)
        _mend(work, records)
        code = _drtests(work)
        second = newest_pack(work.reports, first.folder)
        wrong = list(second_run(code, second, first))
        if wrong or second is None:
            return _failed("second run", wrong, work)
        say()
        closed = ", ".join(f"{item['id']} is {item['status']}" for item in second.actions)
        say(f"As expected: all MET, and action {closed}.")
    _farewell(work, first, second)
    return 0


def serve(directory: Path) -> int:
    """Keeps the S3 server of an earlier demo up until Ctrl-C."""
    work = existing(directory)
    with s3_server(work) as pid, ssh_server(work), servers(work):
        say(f"S3 server at http://{work.s3_address()}, sshd and two PostgreSQL servers; Ctrl-C stops them")
        say(f"  in another terminal: cd {_shown(work.root)} && {_command()} run")
        try:
            while True:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
                say("the S3 server ended by itself; see logs/s3.log")
                return 1
        except KeyboardInterrupt:
            say("stopped")
            return 0


def _build(work: WorkDir, primary: Cluster) -> StudentRecords:
    """Production data, and three weeks of nights."""
    now = datetime.now(UTC)
    dates = nights(now)
    share = FileShare(work.production / "file-share")
    records = StudentRecords(work.production / "student-records", work.production / "student-records-live")
    site = Website(work.production / "website")
    timetable = Timetable(work.production / "timetable", primary)
    todo = jobs(work)
    stopped = DAYS - STOPPED
    enough = threading.Event()

    def dump(number: int) -> None:
        if number < stopped:
            records.make_dump()

    def fill(name: str, day: Callable[[int, datetime], None], before_backup: Callable[[int], None]) -> str:
        todo[name].create()
        for number, moment in enumerate(dates):
            if enough.is_set():
                break
            day(number, moment)
            before_backup(number)
            todo[name].back_up(moment)
        return name

    for system in (share, records, site, timetable):
        system.create(dates[0])
    say(f"  {DAYS} nights of backups of four systems with restic ...")
    with ThreadPoolExecutor(4) as pool:
        running = [
            pool.submit(fill, "file-share", share.day, lambda _: None),
            pool.submit(fill, "student-records", records.day, dump),
            pool.submit(fill, "website", site.day, lambda _: None),
            pool.submit(fill, "timetable", timetable.day, lambda _: timetable.make_dump()),
        ]
        try:
            for one in running:
                one.result()
        finally:
            # Ctrl-C, or a failure of one: the others stop after the night they are at.
            enough.set()
    files = sum(len(names) for _, _, names in os.walk(work.production))
    size = sum(path.stat().st_size for path in work.production.rglob("*") if path.is_file()) / 1e6
    say(f"  done: {files} files, {size:.0f} MB; two repositories on the NAS, two on the S3 server")
    return records


def _drtests(work: WorkDir) -> int:
    say(f"$ cd {_shown(work.root)} && drtests run")
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PATH": search_path(work)}
    argv = [sys.executable, "-m", "drtests", "run"]
    # A session of its own, so that Ctrl-C comes once, from here, and the run has time to clean up.
    with subprocess.Popen(argv, cwd=work.root, env=environment, start_new_session=True) as run:
        try:
            return run.wait(timeout=_RUN_TIMEOUT)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            run.send_signal(signal.SIGINT)
            try:
                run.wait(timeout=_CLEAN_UP_TIMEOUT)
            except subprocess.TimeoutExpired:
                run.kill()
            raise


def _tell(pack: Pack) -> None:
    """What a reader of the report sees of the shortfall."""
    missed, action = pack.drill(SHORTFALL), pack.actions[0]
    say()
    say(f"As expected: {SHORTFALL} is {missed['verdict']}, all else is MET.")
    say(f"  why:    {missed['reasons'][0]}")
    say(f"  action: {action['id']}, {action['severity']}, for {action['owner_name']}, due {action['due'][:10]}")
    say(f"  mend:   {missed['advice'][0] if missed['advice'] else 'none given'}")
    say(f"  report: {pack.folder / 'report.html'}")


def _mend(work: WorkDir, records: StudentRecords) -> None:
    say()
    say("The administrator runs the dump and the backup that were missed, and the drills again.")
    moment = datetime.now(UTC)
    records.day(DAYS, moment)
    records.make_dump()
    jobs(work)["student-records"].back_up(moment)
    say(f"  newest row in the dump: {records.newest_in_dump()}")
    say()


def _failed(which: str, wrong: Sequence[str], work: WorkDir) -> int:
    say()
    say(f"The {which} did not go as the demo said it would:")
    for difference in wrong:
        say(f"  - {difference}")
    say(f"What there is, is in {work.root}")
    return 1


def _farewell(work: WorkDir, first: Pack, second: Pack) -> None:
    say()
    say("Look at it:")
    say(f"  {work.reports / 'index.html'}   all runs")
    say(f"  {first.folder / 'report.html'}   the run that missed")
    say(f"  {second.folder / 'report.html'}   the run that closed the action")
    say("Go on by hand:")
    say("  make demo-serve                    its servers, until Ctrl-C; then in another terminal")
    say(f"  cd {_shown(work.root)} && {_command()} run          (or: plan, actions, verify latest, ...)")


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _command() -> str:
    """The drtests command beside this Python, as one would type it in the work directory."""
    command = Path(sys.executable).with_name("drtests")
    return f"../{command.relative_to(CHECKOUT)}" if command.is_relative_to(CHECKOUT) else str(command)
