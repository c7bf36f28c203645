"""`python -m drtests`."""

from drtests.cli.main import main

main()
