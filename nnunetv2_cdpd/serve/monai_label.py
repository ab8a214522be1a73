"""MONAI Label's interface, as far as its clients need it to predict: 3D Slicer, OHIF, and its Python client (0.8).

There is no training, no active learning, and labels are not kept: viewers save them. Besides MONAI Label's own parameters of
a model, `classes` (a list, or names between commas) and `task` are taken.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.datasets.volume_files import VOLUME_ENDINGS
from nnunetv2_cdpd.inference.formats import DICOM_SEG
from nnunetv2_cdpd.serve.images import sent_image
from nnunetv2_cdpd.serve.jobs_api import Its, Problem, dicom_answer
from nnunetv2_cdpd.serve.receiving import Received, removed_on_error
from nnunetv2_cdpd.serve.server import FILE_FIELDS, Server
from nnunetv2_cdpd.serve.store import DONE, KeptImage, SentImage, ServedJob, label_map_file

_LOOK_SECONDS = 0.05  # between two looks whether a job is over
_CHUNK = 1 << 16
monai_label_router = APIRouter(tags=["MONAI Label"], responses={code: {"model": Problem} for code in (400, 401, 404)})


@monai_label_router.get("/info/", summary="The models, as MONAI Label tells of them")
async def info(server: Its) -> dict[str, Any]:
    models = {
        name: {
            "type": "segmentation",
            "labels": facts["classes"],
            "dimension": facts["dimension"],
            "description": f"CDPDNet, {len(facts['classes'])} classes",
            "config": {"classes": "", "task": ""},
        }
        for name, facts in server.models.items()
    }
    return {
        "name": "nnunetv2_cdpd",
        "description": "CDPDNet for nnU-Net v2, prediction only",
        "version": __version__,
        "labels": list(dict.fromkeys(label for facts in server.models.values() for label in facts["classes"])),
        "models": models,
        "trainers": {},
        "strategies": {},
        "scoring": {},
        "train_stats": {},
        "datastore": await _datastore_status(server),
    }


# ---- who may ask ---------------------------------------------------------------------------------------------------------


@monai_label_router.get("/auth/", summary="Whether a token is needed")
async def auth(server: Its) -> dict[str, Any]:
    return {"enabled": server.access.token is not None, "client_id": "", "realm": ""}


@monai_label_router.post(
    "/auth/token", summary="The token, for a client that asks for a name and a password: the token is the password"
)
async def auth_token(server: Its, request: Request) -> dict[str, Any]:
    if server.access.token is None:
        return {"access_token": None, "token_type": None}
    if not server.access.is_token((await server.receiver.receive_fields(request)).get("password", "")):
        raise HTTPException(401, "not the token of this server; give it as the password")
    return {"access_token": server.access.token, "token_type": "bearer"}


@monai_label_router.get("/auth/token/valid", summary="Whether the token that was sent is right")
async def auth_token_valid() -> dict[str, Any]:
    return {"username": "user"}


# ---- prediction ----------------------------------------------------------------------------------------------------------


@monai_label_router.post(
    "/infer/{model}",
    summary="Predict an image, and wait for the result",
    responses={code: {"model": Problem} for code in (408, 413, 429, 500, 503)},
)
async def infer(
    server: Its,
    request: Request,
    model: str,
    image: Annotated[str, Query(description="name of an image that was sent, or of the folder that the server reads")] = "",
    session_id: str = "",
    output: Literal["image", "json", "all", "dicom_seg"] | None = None,
) -> Response:
    server.check_asked(model, None, None)

    async def make(identifier: str, received: Received) -> ServedJob:
        params = _params(received.fields)
        classes, task, ending = _asked(params)
        is_packed = bool(params.get("result_compress", False))
        server.check_asked(model, classes, task, ending)
        sent = received.image or await run_in_threadpool(_named_image, server, image, session_id)
        formats = [DICOM_SEG] if output == "dicom_seg" else []
        return server.new_job(identifier, model, sent, classes, task, ending, formats=formats, is_packed=is_packed)

    job = await server.take_job(request, make, takes_fields=True)
    while not job.is_over:
        if await request.is_disconnected():
            await run_in_threadpool(server.queue.cancel, job)
            return Response(status_code=499)
        await asyncio.sleep(_LOOK_SECONDS)
    if job.state != DONE:
        raise HTTPException(500, f"{job.state}: {job.error}")
    forget = BackgroundTask(server.queue.forget, job)
    if output == "dicom_seg":
        answer = dicom_answer(server, job, DICOM_SEG)
        answer.background = forget
        return answer
    path = server.queue.folder_of(job) / "result" / label_map_file(job.ending)
    params = {
        "label_names": _label_names(server.models[model], job),
        "notes": job.notes,
        "latencies": {"total": round((job.finished or 0) - (job.started or 0), 2)},
    }
    if output == "json":
        return JSONResponse(params, background=forget)
    name = f"{job.id}{job.ending}"
    if output == "image":
        return FileResponse(path, media_type="application/octet-stream", filename=name, background=forget)
    return _form(params, name, path, forget)


def _params(fields: Mapping[str, str]) -> dict[str, Any]:
    try:
        params = json.loads(fields.get("params") or "{}")
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "params: no JSON") from error
    if not isinstance(params, dict):
        raise HTTPException(400, "params: no object of JSON")
    return params


def _asked(params: Mapping[str, Any]) -> tuple[list[str] | None, str | None, str]:
    """Classes, task and ending of the result."""
    classes, task, ending = params.get("classes"), params.get("task"), params.get("result_extension")
    if isinstance(classes, str):
        classes = [name.strip() for name in classes.split(",") if name.strip()]
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise HTTPException(400, "params: `classes` is no list of names")
    if not isinstance(task or "", str) or not isinstance(ending or "", str):
        raise HTTPException(400, "params: `task` or `result_extension` is no text")
    return classes or None, task or None, ending or ".nii.gz"


def _named_image(server: Server, image: str, session_id: str) -> SentImage:
    if session_id:
        return sent_image(_session(server, session_id))
    if not image:
        raise HTTPException(400, "no image: send a file, or name an image or a session")
    found = server.images.named(image)
    if found is None:
        raise HTTPException(404, f"no image {image!r}; send it, or put it into the folder of argument --images")
    return found


def _label_names(facts: Mapping[str, Any], job: ServedJob) -> dict[str, int]:
    """Name -> value, without a gap: 3D Slicer gives the i-th name to value i, whatever its value here says."""
    names = {value: name for name, value in (*facts["merged"].items(), *facts["classes"].items())}
    last = max(job.values.values(), default=0)
    return {names.get(value, f"(value {value})"): value for value in range(1, last + 1)}


def _form(params: Mapping[str, Any], name: str, path: Path, after: BackgroundTask) -> Response:
    """The answer as a form of two fields; of a known length, because MONAI Label's client reads no chunks."""
    boundary = token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f"{json.dumps(params)}\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    file = path.open("rb")

    async def parts() -> AsyncIterator[bytes]:
        with file:
            yield head
            while chunk := await run_in_threadpool(file.read, _CHUNK):
                yield chunk
            yield tail

    length = len(head) + path.stat().st_size + len(tail)
    kind = f"multipart/form-data; boundary={boundary}"
    return StreamingResponse(parts(), 200, {"Content-Length": str(length), "Content-Type": kind}, background=after)


# ---- sessions and images -------------------------------------------------------------------------------------------------


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


@monai_label_router.put("/session/", summary="Send an image for several predictions")
async def new_session(server: Its, request: Request, expiry: Annotated[int, Query(ge=0)] = 0) -> dict[str, Any]:
    session = await _keep(server, request, None, float(expiry))
    return {"session_id": session.id, "session_info": _session_info(server, session)}


@monai_label_router.get("/session/{session_id}", summary="A session, or its image")
async def session(server: Its, session_id: str, update_ts: bool = False, image: bool = False) -> Response:
    found = _session(server, session_id, update_ts)
    return _only_file(sent_image(found)) if image else JSONResponse(_session_info(server, found))


@monai_label_router.delete("/session/{session_id}", summary="End a session")
async def end_session(server: Its, session_id: str) -> dict[str, Any]:
    found = _session(server, session_id, use=False)
    await run_in_threadpool(server.images.forget, found)
    return _session_info(server, found)


async def _datastore_status(server: Server) -> dict[str, Any]:
    return {"total": len(await run_in_threadpool(server.images.names)), "completed": 0, "label_tags": {}}


@monai_label_router.get("/datastore/", summary="The images that can be named")
async def datastore(server: Its, output: Literal["train", "stats", "all"] = "stats") -> Any:
    if output == "train":
        return []
    if output == "stats":
        return await _datastore_status(server)
    names = await run_in_threadpool(server.images.names)
    images = {name: {"image": {"ext": "", "info": {}}, "labels": {}} for name in names}
    return {"name": "nnunetv2_cdpd", "description": "", "objects": images}


@monai_label_router.put("/datastore/", summary="Send an image under a name")
@monai_label_router.put("/datastore/image", summary="Send an image under a name")
async def new_image(server: Its, request: Request, image: str | None = None) -> dict[str, str]:
    return {"image": (await _keep(server, request, image or None)).name}


@monai_label_router.head("/datastore/image", summary="Whether there is an image of a name")
@monai_label_router.get("/datastore/image", summary="An image by its name")
async def named_image(server: Its, image: str) -> Response:
    return _only_file(await run_in_threadpool(_named_image, server, image, ""))


@monai_label_router.get("/datastore/image/info", summary="What is known of an image")
async def image_info(server: Its, image: str) -> dict[str, Any]:
    await run_in_threadpool(_named_image, server, image, "")
    return {}


@monai_label_router.delete("/datastore/", summary="Remove an image that was sent")
@monai_label_router.delete("/datastore/image", summary="Remove an image that was sent")
async def remove_image(server: Its, id: str) -> dict[str, Any]:
    await run_in_threadpool(server.images.forget_named, id)
    return {}


@monai_label_router.put("/datastore/label", summary="Labels are not kept here", status_code=501)
async def no_labels() -> Response:
    raise HTTPException(501, "this server predicts and keeps no labels; save them in the viewer")


def _only_file(image: SentImage) -> Response:
    if len(image.files) != 1:
        raise HTTPException(404, f"the image is {len(image.files)} files, which cannot be had as one")
    (file,) = image.files
    ending = next((ending for ending in (*VOLUME_ENDINGS, ".zip") if file.name.lower().endswith(ending)), ".dcm")
    return FileResponse(file, media_type="application/octet-stream", filename=f"image{ending}")
