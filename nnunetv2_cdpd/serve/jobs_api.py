"""The interface of `cdpd serve`: send an image, ask how far it is, get what was found."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from nnunetv2_cdpd.inference.formats import DICOM_ENDINGS, DICOM_LABELMAP, DICOM_SEG, RTSTRUCT
from nnunetv2_cdpd.serve.receiving import Received
from nnunetv2_cdpd.serve.server import Server
from nnunetv2_cdpd.serve.store import DONE, LABEL_MAP_ENDINGS, STATISTICS_FILE, ServedJob, dicom_file, label_map_file

_BINARY = {"type": "string", "format": "binary"}
_SENT = {
    "requestBody": {
        "required": True,
        "description": "The image: a volume (NIfTI, NRRD, MetaImage, GIPL), or a zip of a DICOM series; as the body itself, "
        "or as field `file` of a form, which may come several times: a volume per channel in the order of the channels, or the "
        "slices of a DICOM series.",
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "array", "items": _BINARY}}, "required": ["file"]}
            },
            "application/octet-stream": {"schema": _BINARY},
        },
    }
}


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class ModelFacts(BaseModel):
    """What may be asked of a model."""

    classes: dict[str, int] = Field(description="class -> its value in a label map of all classes")
    tasks: dict[str, list[str]] = Field(description="task -> the classes that are predicted under it")
    channels: list[str] = Field(description="what each file of an image holds, in this order")


class Progress(BaseModel):
    """How far a job is that runs."""

    windows_done: int
    windows: int


class JobState(BaseModel):
    """A job."""

    id: str
    state: str = Field(description="queued, running, done, failed, cancelled, or lost: the server ended before it was done")
    model: str
    classes: list[str] | None
    task: str | None
    place: int | None = Field(description="of a job that waits: how many come before it")
    progress: Progress | None
    error: str | None
    notes: list[str]
    values: dict[str, int] = Field(description="class -> its value in the label map")
    created: float = Field(description="seconds since 1970, as the next two")
    started: float | None
    finished: float | None
    results: dict[str, str] = Field(description="what there is -> where to get it")


def server_of(request: Request) -> Server:
    """The server whose application a request reached."""
    return request.app.state.server


Its = Annotated[Server, Depends(server_of)]
jobs_router = APIRouter(responses={code: {"model": Problem} for code in (400, 401, 404)})


def job_state(server: Server, job: ServedJob) -> JobState:
    """A job as clients see it."""
    windows = job.windows
    results = {name: f"/jobs/{job.id}/{name}" for name in ("label_map", "statistics", *job.formats)}
    return JobState(
        id=job.id,
        state=job.state,
        model=job.model,
        classes=job.classes,
        task=job.task,
        place=server.queue.place(job),
        progress=None if windows is None else Progress(windows_done=windows[0], windows=windows[1]),
        error=job.error,
        notes=job.notes,
        values=job.values,
        created=job.created,
        started=job.started,
        finished=job.finished,
        results=results if job.state == DONE else {},
    )


@jobs_router.get("/health", summary="Whether the server is there, and how many jobs wait", tags=["server"])
async def health(server: Its) -> dict[str, Any]:
    return {"status": "ok", "queued": server.queue.num_waiting}


@jobs_router.get("/models", summary="The models, with classes, tasks and channels", tags=["server"])
async def models(server: Its) -> dict[str, ModelFacts]:
    return {name: ModelFacts(**facts) for name, facts in server.models.items()}


@jobs_router.post(
    "/jobs",
    status_code=202,
    summary="Send an image to be predicted",
    tags=["jobs"],
    openapi_extra=_SENT,
    responses={code: {"model": Problem} for code in (408, 413, 429, 503)},
)
async def new_job(
    request: Request,
    response: Response,
    server: Its,
    model: Annotated[str | None, Query(description="may be left out where there is one")] = None,
    classes: Annotated[list[str] | None, Query(description="these only; once per class")] = None,
    task: Annotated[str | None, Query(description="predict as this source's task")] = None,
    ending: Annotated[str, Query(description=f"of the label map: {', '.join(LABEL_MAP_ENDINGS)}")] = LABEL_MAP_ENDINGS[0],
    formats: Annotated[
        list[str] | None, Query(description=f"of a DICOM series also {', '.join(DICOM_ENDINGS)}; once per format")
    ] = None,
) -> JobState:
    wanted = list(dict.fromkeys(formats or ()))
    name = server.check_asked(model, classes, task, ending, wanted)

    async def make(identifier: str, received: Received) -> ServedJob:
        return server.new_job(identifier, name, received.image, classes, task, ending, formats=wanted)

    job = await server.take_job(request, make)
    response.headers["Location"] = f"/jobs/{job.id}"
    return job_state(server, job)


def _job(server: Its, job_id: str) -> ServedJob:
    job = server.queue.get(job_id)
    if job is None:
        raise HTTPException(404, "no such job; it may have been removed since")
    return job


Known = Annotated[ServedJob, Depends(_job)]


@jobs_router.get("/jobs/{job_id}", summary="How far a job is", tags=["jobs"])
async def job(server: Its, known: Known) -> JobState:
    return job_state(server, known)


@jobs_router.delete("/jobs/{job_id}", summary="Cancel a job, or remove what a finished one left", tags=["jobs"])
async def remove_job(server: Its, known: Known) -> JobState:
    if known.is_over:
        await run_in_threadpool(server.queue.forget, known)
    else:
        await run_in_threadpool(server.queue.cancel, known)
    return job_state(server, known)


def _result(server: Server, job: ServedJob, name: str) -> Path:
    if job.state != DONE:
        raise HTTPException(409, f"the job is {job.state}{f': {job.error}' if job.error else ', and has no result yet'}")
    path = server.queue.folder_of(job) / "result" / name
    if not path.is_file():
        raise HTTPException(404, "no such job; it may have been removed since")
    return path


@jobs_router.get("/jobs/{job_id}/label_map", summary="The label map", tags=["jobs"], response_class=FileResponse)
async def label_map(server: Its, known: Known) -> FileResponse:
    name = label_map_file(known.ending)
    return FileResponse(_result(server, known, name), media_type="application/octet-stream", filename=name)


@jobs_router.get("/jobs/{job_id}/statistics", summary="Volume, mean intensity and place of every class", tags=["jobs"])
async def statistics(server: Its, known: Known) -> Response:
    return FileResponse(_result(server, known, STATISTICS_FILE), media_type="application/json")


@jobs_router.get("/jobs/{job_id}/dicom-seg", summary="DICOM segmentation, on the slices that were sent", tags=["jobs"])
async def dicom_segmentation(server: Its, known: Known) -> Response:
    return dicom_answer(server, known, DICOM_SEG)


@jobs_router.get("/jobs/{job_id}/dicom-labelmap", summary="DICOM segmentation as a label map (2024)", tags=["jobs"])
async def dicom_label_map(server: Its, known: Known) -> Response:
    return dicom_answer(server, known, DICOM_LABELMAP)


@jobs_router.get("/jobs/{job_id}/rtstruct", summary="DICOM structure set", tags=["jobs"])
async def structure_set(server: Its, known: Known) -> Response:
    return dicom_answer(server, known, RTSTRUCT)


def dicom_answer(server: Server, job: ServedJob, output_format: str) -> FileResponse:
    """A file of DICOM of a job that is done.

    Raises:
        HTTPException: It is not done (409), or the format was not asked for (404).
    """
    if output_format not in job.formats:
        raise HTTPException(404, f"{output_format} was not asked for; send the series with formats={output_format}")
    name = dicom_file(output_format)
    return FileResponse(_result(server, job, name), media_type="application/dicom", filename=name)


def problem(status: int, why: str, headers: Any = None) -> JSONResponse:
    """A refusal, as all of them look."""
    return JSONResponse({"detail": why}, status, headers)
