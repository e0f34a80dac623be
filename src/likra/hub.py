"""Whether the Hugging Face hub can be reached: asked before its libraries retry for a minute."""

import os
import socket
from urllib.parse import urlsplit

_SECONDS = 5


def reachable() -> bool:
    """False if the hub's host cannot be connected to. True where that cannot be told (a proxy, offline mode)."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=_SECONDS).close()
    except OSError:
        return False
    return True
