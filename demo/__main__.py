"""`python -m demo`: the demo; `python -m demo serve`: its S3 server, to go on by hand."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from demo.story import play, serve
from demo.workdir import DemoError
from drtests.errors import DrtestsError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["play", "serve"], default="play")
    parser.add_argument("--directory", type=Path, default=Path(".demo"), help="where it is built (default: .demo)")
    given = parser.parse_args()
    # Both stop servers on the way out, also where a script started us in the background (SIGINT ignored).
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return serve(given.directory) if given.what == "serve" else play(given.directory)
    except (DemoError, DrtestsError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; its servers are stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
