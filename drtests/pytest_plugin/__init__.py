"""pytest is the scheduler: declared systems and Python recovery tests are its items."""
