"""Whether a download can work at all, so that a machine without internet fails at once instead of after minutes of retries."""

import socket
from urllib.parse import urlparse
from urllib.request import getproxies


def hub_reachable() -> bool:
    """False where the model hub's name cannot be resolved and no proxy is set, or where the user asked to stay offline."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, None)
    except OSError:
        return False
    return True
