"""Backup engines."""
