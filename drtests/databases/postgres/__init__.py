"""PostgreSQL: clients of running servers, restored ones, and rehearsals of failovers."""
