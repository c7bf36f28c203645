"""Adapters for databases: clients of running servers, recipes that start restored ones, rehearsals of failovers."""
