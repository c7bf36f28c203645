"""Machines on which commands run. One adapter a file."""
