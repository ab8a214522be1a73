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
from nnunetv2_cdpd.inference.formats import DICOM_SEG
from nnunetv2_cdpd.serve.jobs_api import Its, Problem, dicom_answer
from nnunetv2_cdpd.serve.monai_images import datastore_status, named_image
from nnunetv2_cdpd.serve.receiving import Received
from nnunetv2_cdpd.serve.store import DONE, ServedJob, label_map_file

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
        "datastore": await datastore_status(server),
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
        sent = received.image or await run_in_threadpool(named_image, server, image, session_id)
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
