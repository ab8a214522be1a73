"""Guard: what each request passes before anything is done for it, and what each answer carries."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nnunetv2_cdpd.serve.access import Access

OPEN_PATHS = ("/health", "/docs", "/openapi.json", "/auth/", "/auth/token")  # for which no token is needed
OPEN_FOLDER = "/static-offline-docs/"
_DISCARDED = 256 << 20  # bytes of a refused body that are read, so that a client which sends it all hears why
_DISCARD_SECONDS = 30.0
_TOO_SLOW = 408
_CLOSE = {"Connection": "close"}


class Guard:
    """ASGI middleware: host, origin and token of a request; an answer that is not kept by anybody between.

    Where an answer refuses a request whose body has not been read, a part of that is read first.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = _Body(receive, headers)

        is_answered = False

        async def answer(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                if message["status"] >= 400 and message["status"] != _TOO_SLOW:
                    await body.discard()
                own = MutableHeaders(scope=message)
                if not body.is_read:  # else the client could go on sending for as long as it likes
                    own["Connection"] = "close"
                own["X-Content-Type-Options"] = "nosniff"
                own["Cache-Control"] = "no-store"
                is_answered = True
            await send(message)

        refused = self._refused(scope, headers)
        try:
            await (refused or self._app)(scope, body.receive, answer)
        except asyncio.CancelledError:  # the server ends
            if not is_answered:
                await _line(503, "the server has ended; send it again when it is back", _CLOSE)(scope, receive, send)

    def _refused(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        host, access = headers.get("host"), self._access
        if "content-length" in headers and "transfer-encoding" in headers:  # a proxy may see another end of it than we do
            return _line(400, "a request of two lengths; send Content-Length or Transfer-Encoding", _CLOSE)
        if not access.takes_host(host):
            return _line(400, f"this server is not called {host!r}; address it as the machine that it runs on")
        if not access.takes_origin(headers.get("origin"), host):
            return _line(403, f"web pages of {headers.get('origin')!r} may not use this server; allow them by --allow-origin")
        is_open = scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDER)
        if not is_open and not access.takes_token(headers.get("authorization")):
            return _line(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        return None


class _Body:
    """The body of a request, and how much of it has been read."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive: Callable[[], Awaitable[Any]] = receive
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self.is_read = not has_body
        self._waits_for_leave = "expect" in headers  # and sends nothing before

    async def receive(self) -> Message:
        message = await self._receive()
        self._waits_for_leave = False
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.is_read = True
        return message

    async def discard(self) -> None:
        if self.is_read or self._waits_for_leave:
            return
        left = _DISCARDED
        with suppress(TimeoutError, asyncio.TimeoutError):

            async def read() -> None:
                nonlocal left
                while not self.is_read and left > 0:
                    left -= len((await self.receive()).get("body", b""))

            await asyncio.wait_for(read(), _DISCARD_SECONDS)


def _line(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": why}, status, headers)
