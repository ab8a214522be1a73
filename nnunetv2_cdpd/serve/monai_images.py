"""MONAI Label's sessions and images: what a client sends once and has predicted several times, or names."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from nnunetv2_cdpd.datasets.volume_files import VOLUME_ENDINGS
from nnunetv2_cdpd.serve.images import sent_image
from nnunetv2_cdpd.serve.jobs_api import Its, Problem
from nnunetv2_cdpd.serve.receiving import removed_on_error
from nnunetv2_cdpd.serve.server import FILE_FIELDS, Server
from nnunetv2_cdpd.serve.store import KeptImage, SentImage

_LONGEST_EXPIRY = 10**9  # seconds; the server's own hours end before
monai_images_router = APIRouter(tags=["MONAI Label"], responses={code: {"model": Problem} for code in (400, 401, 404)})


def named_image(server: Server, image: str, session_id: str) -> SentImage:
    """The image of a session, or of a name.

    Raises:
        HTTPException: There is none (404), or nothing is named (400).
    """
    if session_id:
        return sent_image(_session(server, session_id))
    if not image:
        raise HTTPException(400, "no image: send a file, or name an image or a session")
    found = server.images.named(image)
    if found is None:
        raise HTTPException(404, f"no image {image!r}; send it, or put it into the folder of argument --images")
    return found


def _session(server: Server, session_id: str, use: bool = True) -> KeptImage:
    session = server.images.get(session_id, use)
    if session is None:
        raise HTTPException(404, f"Session ({session_id}) Not Found")
    return session


def _session_info(server: Server, session: KeptImage) -> dict[str, Any]:
    return {
        "name": session.id,
        "path": "",
        "image": "",
        "meta": {},
        "create_ts": int(session.created),
        "last_access_ts": int(session.used),
        "expiry": int(session.expires or 3600 * server.limits.kept_hours),
    }


async def _keep(server: Server, request: Request, name: str | None, expires: float = 0.0) -> KeptImage:
    async with server.receiver.slot():
        identifier, folder = await run_in_threadpool(server.images.new_folder)
        async with removed_on_error(folder):
            received = await server.receiver.receive(request, folder, FILE_FIELDS)
            if received.image is None:
                raise HTTPException(400, "no image in the request")
            return await run_in_threadpool(server.images.keep, identifier, name, received.image, expires)


@monai_images_router.put("/session/", summary="Send an image for several predictions")
async def new_session(
    server: Its, request: Request, expiry: Annotated[int, Query(ge=0, le=_LONGEST_EXPIRY)] = 0
) -> dict[str, Any]:
    session = await _keep(server, request, None, float(expiry))
    return {"session_id": session.id, "session_info": _session_info(server, session)}


@monai_images_router.get("/session/{session_id}", summary="A session, or its image")
async def session(server: Its, session_id: str, update_ts: bool = False, image: bool = False) -> Response:
    found = _session(server, session_id, update_ts)
    return _only_file(sent_image(found)) if image else JSONResponse(_session_info(server, found))


@monai_images_router.delete("/session/{session_id}", summary="End a session")
async def end_session(server: Its, session_id: str) -> dict[str, Any]:
    found = _session(server, session_id, use=False)
    await run_in_threadpool(server.images.forget, found)
    return _session_info(server, found)


async def datastore_status(server: Server) -> dict[str, Any]:
    """How many images there are, none of them labelled."""
    return {"total": len(await run_in_threadpool(server.images.names)), "completed": 0, "label_tags": {}}


@monai_images_router.get("/datastore/", summary="The images that can be named")
async def datastore(server: Its, output: Literal["train", "stats", "all"] = "stats") -> Any:
    if output == "train":
        return []
    if output == "stats":
        return await datastore_status(server)
    names = await run_in_threadpool(server.images.names)
    images = {name: {"image": {"ext": "", "info": {}}, "labels": {}} for name in names}
    return {"name": "nnunetv2_cdpd", "description": "", "objects": images}


@monai_images_router.put("/datastore/", summary="Send an image under a name")
@monai_images_router.put("/datastore/image", summary="Send an image under a name")
async def new_image(server: Its, request: Request, image: str | None = None) -> dict[str, str]:
    return {"image": (await _keep(server, request, image or None)).name}


@monai_images_router.head("/datastore/image", summary="Whether there is an image of a name")
@monai_images_router.get("/datastore/image", summary="An image by its name")
async def image_file(server: Its, image: str) -> Response:
    return _only_file(await run_in_threadpool(named_image, server, image, ""))


@monai_images_router.get("/datastore/image/info", summary="What is known of an image")
async def image_info(server: Its, image: str) -> dict[str, Any]:
    await run_in_threadpool(named_image, server, image, "")
    return {}


@monai_images_router.delete("/datastore/", summary="Remove an image that was sent")
@monai_images_router.delete("/datastore/image", summary="Remove an image that was sent")
async def remove_image(server: Its, id: str) -> dict[str, Any]:
    await run_in_threadpool(server.images.forget_named, id)
    return {}


@monai_images_router.put("/datastore/label", summary="Labels are not kept here", status_code=501)
async def no_labels() -> Response:
    raise HTTPException(501, "this server predicts and keeps no labels; save them in the viewer")


def _only_file(image: SentImage) -> Response:
    if len(image.files) != 1:
        raise HTTPException(404, f"the image is {len(image.files)} files, which cannot be had as one")
    (file,) = image.files
    ending = next((ending for ending in (*VOLUME_ENDINGS, ".zip") if file.name.lower().endswith(ending)), ".dcm")
    return FileResponse(file, media_type="application/octet-stream", filename=f"image{ending}")
