"""A recovery test in Python, for what is too much for YAML.

The system is restored and started exactly as its file says; then the function runs. A failed
assertion is a missed objective, any other exception means that we do not know.
"""

from __future__ import annotations

import json
import sqlite3
import urllib.request

import pytest

from drtests.pytest_plugin.python_tests import Recovery


@pytest.mark.recovery("student-records", checks=False)
def test_marks_add_up(recovery: Recovery) -> None:
    """The restored application tells of every class what its restored database holds."""
    database = recovery.path("student-records/dump/records.db")
    query = "SELECT class, count(*) FROM grades JOIN students ON students.id = student GROUP BY class"
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    try:
        expected = dict(connection.execute(query).fetchall())
    finally:
        connection.close()
    with urllib.request.urlopen("http://127.0.0.1:8421/classes", timeout=10) as answer:
        told = json.load(answer)
    recovery.measure("classes", len(told))
    assert told == expected


@pytest.mark.recovery("student-records", checks=False)
def test_a_mark_can_be_entered(recovery: Recovery) -> None:
    """Not only readable: the copy takes new marks, with the program's own import."""
    done = recovery.run(["python3", "app.py", "--enter", "1042", "wiskunde", "7.5"], cwd="student-records")
    assert done.exit_code == 0, done.stderr
    assert "1042 wiskunde 7.5" in done.stdout
