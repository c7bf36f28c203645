"""Turns a record into files, and checks packs. Needs no network, no backup tool, no database."""
