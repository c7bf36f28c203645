"""Student records: a small application, backed up with its data and started from the restored copy.

Copied into the demo's production as `app.py`; uses nothing but the standard library.
Run as `app.py PORT` to serve, as `app.py --enter STUDENT SUBJECT MARK` to enter a mark.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DATABASE = Path(__file__).resolve().parent / "dump" / "records.db"


def connect(mode: str = "ro") -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{DATABASE.as_uri()}?mode={mode}", uri=True, timeout=5))


def student(number: int) -> dict[str, Any] | None:
    with connect() as database:
        row = database.execute("SELECT id, name, class FROM students WHERE id = ?", (number,)).fetchone()
        if row is None:
            return None
        grades = database.execute("SELECT subject, mark, at FROM grades WHERE student = ? ORDER BY at", (number,))
        keys = ("subject", "mark", "at")
        return {
            "id": row[0],
            "name": row[1],
            "class": row[2],
            "grades": [dict(zip(keys, g, strict=True)) for g in grades],
        }


def classes() -> dict[str, int]:
    with connect() as database:
        query = "SELECT class, count(*) FROM grades JOIN students ON students.id = student GROUP BY class"
        return dict(database.execute(query).fetchall())


def answer(path: str) -> tuple[int, Any]:
    if path == "/health":
        with connect() as database:
            return 200, {"students": database.execute("SELECT count(*) FROM students").fetchone()[0]}
    if path == "/classes":
        return 200, classes()
    kind, _, number = path.strip("/").partition("/")
    found = student(int(number)) if kind == "students" and number.isdigit() else None
    return (200, found) if found else (404, {"error": "not found"})


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            status, body = answer(self.path)
        except sqlite3.Error as error:
            status, body = 503, {"error": str(error)}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def enter(number: int, subject: str, mark: float) -> None:
    with connect("rw") as database, database:
        database.execute(
            "INSERT INTO grades (student, subject, mark, at) VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
            (number, subject, mark),
        )
    found = student(number)
    last = found["grades"][-1] if found else None
    print(f"{number} {last['subject']} {last['mark']}" if last else "not entered")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--enter"]:
        enter(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
    else:
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
