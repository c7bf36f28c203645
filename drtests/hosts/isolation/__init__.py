"""Processes of a host that see nothing of the network but what is let through, and none of what is hidden."""
