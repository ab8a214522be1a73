"""Receiving: what clients send, put on the disk as it comes, within limits of size and time.

A body that is no form is one file; a form holds files and fields. Of a file's name nothing is used.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import remove
from nnunetv2_cdpd.serve.archive import check_archive
from nnunetv2_cdpd.serve.forms import MOST_FIELDS, FormFiles
from nnunetv2_cdpd.serve.kinds import DICOM, ZIP, kind_of
from nnunetv2_cdpd.serve.limits import Limits
from nnunetv2_cdpd.serve.store import SentImage

_SLOWEST = 64 * 1024  # bytes per second that a client must send on average
_SMALL = 1 << 16
RETRY_SECONDS = 10


@dataclass
class Received:
    """What a request held.

    fields: Of a form.
    files: In a folder of ours, named by what they are.
    """

    fields: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    @property
    def image(self) -> SentImage | None:
        """None: no file was sent."""
        kinds = {file.suffix for file in self.files}
        return SentImage(tuple(self.files), kinds in ({DICOM}, {ZIP})) if self.files else None


class Receiver:
    """Receives for one server.

    Args:
        limits: Of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._slots = limits, asyncio.Semaphore(limits.uploads)

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None, None]:
        """A place among the uploads at a time; raises HTTPException (503) if there is none soon."""
        try:
            await asyncio.wait_for(self._slots.acquire(), self._limits.patience_seconds)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise busy(503, "as many uploads as are taken at a time are under way; try again later") from error
        try:
            yield
        finally:
            self._slots.release()

    async def receive(self, request: Request, folder: Path, names: tuple[str, ...], takes_fields: bool = False) -> Received:
        """The files of a request, put into a folder.

        Args:
            names: Of the fields of a form whose files are taken; other files are left out.
            takes_fields: A body that is said to be fields of a form is that, and no file, as which curl sends one.

        Raises:
            HTTPException: It is too large (413), too slow (408), of no kind that is taken, or no form (400).
            ClientDisconnect: The client is gone.
        """
        received = Received()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            await self._receive_form(request, folder, names, received)
        elif kind == "application/x-www-form-urlencoded" and takes_fields:
            received.fields |= await self.receive_fields(request)
        else:
            path = folder / "input"
            with path.open("xb") as file:
                async for chunk in self._limited(request):
                    await run_in_threadpool(file.write, chunk)
            if path.stat().st_size:
                received.files.append(path)
        try:
            received.files = await run_in_threadpool(self._named_by_kind, received.files)
        except UserError as error:
            raise HTTPException(400, str(error)) from error
        return received

    async def receive_fields(self, request: Request) -> dict[str, str]:
        """The fields of a small form without files.

        Raises:
            HTTPException: It is larger.
        """
        body = b""
        async for chunk in self._limited(request):
            body += chunk
            if len(body) > _SMALL:
                raise HTTPException(413, "more than the fields of this form can hold")
        try:
            return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
        except ValueError as error:
            raise HTTPException(400, f"the form cannot be read ({error})") from error

    async def _receive_form(self, request: Request, folder: Path, names: tuple[str, ...], received: Received) -> None:
        try:
            with FormFiles(request.headers["content-type"], folder, names) as form:
                async for chunk in self._limited(request):
                    await run_in_threadpool(form.write, chunk)
                form.finish()
        except UserError as error:
            raise HTTPException(400, str(error)) from error
        received.fields, received.files = form.fields, form.files

    async def _limited(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The body's bytes; raises HTTPException where it is too large or too slow."""
        most = self._limits.upload_bytes
        declared = request.headers.get("content-length", "")
        if re.fullmatch(r"\d{1,30}", declared) and int(declared) > most:
            raise self._too_large()
        received, clock = 0, asyncio.get_running_loop().time
        stream, start = request.stream(), clock()
        while True:
            end = start + self._limits.patience_seconds + received / _SLOWEST
            try:
                chunk = await asyncio.wait_for(anext(stream, None), min(self._limits.patience_seconds, max(0.0, end - clock())))
            except (TimeoutError, asyncio.TimeoutError) as error:
                raise HTTPException(408, "the upload is too slow, or has stopped; send it again") from error
            if chunk is None:
                return
            received += len(chunk)
            if received > most:
                raise self._too_large()
            yield chunk

    def _too_large(self) -> HTTPException:
        return HTTPException(
            413, f"larger than the {self._limits.upload_mb:,} MB that this server takes; send a part of the image"
        )

    def _named_by_kind(self, files: list[Path]) -> list[Path]:
        named = []
        for number, path in enumerate(files):
            kind = kind_of(path)
            if kind == ZIP:
                if len(files) > 1:
                    raise UserError("a zip and other files; send the zip of one series alone")
                check_archive(path, self._limits.unpacked_bytes)
            named.append(path.with_name(f"input_{number}{kind}"))
            path.rename(named[-1])
        if len({file.suffix == DICOM for file in named}) > 1:
            raise UserError("DICOM files among others; send the slices of one series alone")
        return named


@asynccontextmanager
async def removed_on_error(folder: Path) -> AsyncGenerator[None, None]:
    """Remove a folder where what fills it fails, also by a client that is gone."""
    try:
        yield
    except BaseException:
        await asyncio.shield(run_in_threadpool(remove, folder))
        raise


def busy(status: int, why: str) -> HTTPException:
    """An answer that says when to try again."""
    return HTTPException(status, why, {"Retry-After": str(RETRY_SECONDS)})
