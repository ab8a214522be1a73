"""Application: the two interfaces, with refusals in one line of JSON."""

import errno

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.errors import reason
from nnunetv2_cdpd.serve.guard import Guard
from nnunetv2_cdpd.serve.jobs_api import jobs_router, problem
from nnunetv2_cdpd.serve.monai_images import monai_images_router
from nnunetv2_cdpd.serve.monai_label import monai_label_router
from nnunetv2_cdpd.serve.server import Server

_FULL = (errno.ENOSPC, errno.EDQUOT)


def application(server: Server) -> FastAPI:
    """The application of a server; its page of all requests (/docs) needs no internet."""
    origins = sorted(server.access.origins)
    allowed = [Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])] if origins else []
    app = FastAPIOffline(
        title="cdpd serve",
        version=__version__,
        description="Label maps of images by CDPDNet: send an image, get what was found in it.",
        redoc_url=None,
        middleware=[*allowed, Middleware(Guard, access=server.access)],
    )
    app.state.server = server
    app.include_router(jobs_router)
    app.include_router(monai_label_router)
    app.include_router(monai_images_router)
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(RequestValidationError, _wrong_argument)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(OSError, _of_system)
    app.add_exception_handler(Exception, _unexpected)
    return app


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, " ".join(str(error.detail).split()), error.headers)


async def _wrong_argument(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = [f"{'.'.join(map(str, entry['loc'][1:]))}: {entry['msg']}" for entry in error.errors()]
    return problem(400, " ".join("; ".join(told).split()))


async def _gone(request: Request, error: Exception) -> Response:
    return problem(400, "the client is gone")


async def _of_system(request: Request, error: Exception) -> Response:
    """What the system refuses, without its places."""
    assert isinstance(error, OSError)
    if error.errno in _FULL:
        return problem(507, "the disk of the server is full; try again later")
    return problem(500, f"the server cannot do it ({reason(OSError(error.strerror or ''))})")


async def _unexpected(request: Request, error: Exception) -> Response:
    """A fault of ours, whose traceback goes to the server's log."""
    return problem(500, "the server failed at this request; its log says why")
