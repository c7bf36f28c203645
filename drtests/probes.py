"""Is something up yet? Two questions over the network, each with a timeout, neither ever raising."""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Past any proxy: what was restored is asked, nobody else."""


def answers(url: str, timeout: float) -> bool:
    """Whether an HTTP server answers with a status below 500."""
    try:
        with _OPENER.open(url, timeout=timeout) as response:
            return int(response.status) < 500
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, http.client.HTTPException, ValueError):
        return False


def listens(address: str, timeout: float) -> bool:
    """Whether `host:port` accepts a TCP connection."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=timeout):
            return True
    except (OSError, ValueError):
        return False
