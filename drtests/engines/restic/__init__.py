"""restic, by subprocess: 0.14 (Debian 12) and newer."""
