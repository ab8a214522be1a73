"""Access: who may ask a server: from which host name, from which web page, with which token."""

import hmac
import ipaddress
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from nnunetv2_cdpd.errors import UserError, reason

TOKEN_VARIABLE = "CDPD_SERVE_TOKEN"
_SHORTEST = 16  # characters of a token that nobody guesses
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Access:
    """The rules of one server.

    hosts: Names that a request may be addressed to, lower case; None: any. A page of the web whose name was made to lead to
        this machine (DNS rebinding) addresses its own.
    origins: Of web pages that may ask, as "http://localhost:3000".
    token: That each request must have; None: none is needed.
    """

    hosts: frozenset[str] | None
    origins: frozenset[str] = frozenset()
    token: str | None = field(default=None, repr=False)

    def takes_host(self, header: str | None) -> bool:
        """Whether a request's Host header names this server."""
        return self.hosts is None or (header is not None and _without_port(header) in self.hosts)

    def takes_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a web page may ask: the server's own, or one that was allowed; None: no web page asks."""
        if origin is None or origin in self.origins:
            return True
        try:
            return host is not None and urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:  # no address at all
            return False

    def takes_token(self, header: str | None) -> bool:
        """Whether an Authorization header holds the token."""
        if self.token is None:
            return True
        kind, _, token = (header or "").partition(" ")
        return kind.lower() == "bearer" and self.is_token(token.strip())

    def is_token(self, text: str) -> bool:
        """Whether a text is the token; takes as long for any text."""
        return self.token is not None and hmac.compare_digest(text.encode(errors="replace"), self.token.encode())


def access_for(host: str, token_file: Path | None = None, origins: Sequence[str] = (), hosts: Collection[str] = ()) -> Access:
    """The rules for a server that listens on an address.

    Args:
        token_file: Holds the token, on its first line; None: the environment variable CDPD_SERVE_TOKEN does, if it is set.
        origins: See `Access`.
        hosts: Further names of this machine, as a proxy may pass them on.

    Raises:
        UserError: No token for an address that other machines reach, one that is too short, or an origin that is none.
    """
    token = _token(token_file)
    if token is None and not is_loopback(host):
        raise UserError(
            f"argument host {host}: other machines reach it, so each request needs a token; set {TOKEN_VARIABLE}, or give a file "
            "as argument token_file"
        )
    for origin in origins:
        if not re.fullmatch(r"https?://[^/?#@\s]+", origin):
            raise UserError(f"argument origins {origin}: give the beginning of the page's address, as http://localhost:3000")
    named = None if token is not None and not is_loopback(host) and not hosts else {*_LOCAL_NAMES, _as_name(host), *hosts}
    return Access(None if named is None else frozenset(name.lower() for name in named), frozenset(origins), token)


def is_loopback(host: str) -> bool:
    """Whether an address is one that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _token(file: Path | None) -> str | None:
    if file is None:
        token, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
        if token is None:
            return None
    else:
        where = str(file)
        try:
            token = file.read_text(encoding="utf-8").partition("\n")[0]
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read as a token ({reason(error)}); give a text file of one line") from error
    token = token.strip()
    if len(token) < _SHORTEST or not re.fullmatch(r"[!-~]+", token):
        raise UserError(
            f"{where}: a token is {_SHORTEST} or more letters, digits and signs without blanks; make one by "
            "python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token


def _as_name(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _without_port(header: str) -> str:
    return re.sub(r":\d*\Z", "", header.strip().lower())
