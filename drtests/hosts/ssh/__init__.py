"""Hosts that are reached over SSH. paramiko is imported when one is connected to, not before."""

from drtests.hosts.ssh.host import SshHost, open_ssh

__all__ = ["SshHost", "open_ssh"]
