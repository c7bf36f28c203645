"""Kinds of replication."""
