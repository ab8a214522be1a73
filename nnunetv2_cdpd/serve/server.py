"""Server: what the routes of both interfaces share: the models, the jobs, the images, and how an upload becomes a job."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from nnunetv2_cdpd.errors import listed
from nnunetv2_cdpd.inference.formats import DICOM_ENDINGS
from nnunetv2_cdpd.serve.access import Access
from nnunetv2_cdpd.serve.images import ImageStore
from nnunetv2_cdpd.serve.limits import Limits
from nnunetv2_cdpd.serve.receiving import Received, Receiver, busy, removed_on_error
from nnunetv2_cdpd.serve.store import LABEL_MAP_ENDINGS, SentImage, ServedJob
from nnunetv2_cdpd.serve.waiting import JobQueue, QueueFull

_FULL = "as many jobs wait as this server takes; try again later"
FILE_FIELDS = ("file", "files")


@dataclass(frozen=True)
class Server:
    """One server.

    models: Name -> what may be asked of it (`LoadedModels.described`).
    """

    models: Mapping[str, Mapping[str, Any]]
    queue: JobQueue
    images: ImageStore
    limits: Limits
    access: Access
    receiver: Receiver

    def check_asked(
        self,
        model: str | None,
        classes: Sequence[str] | None,
        task: str | None,
        ending: str = LABEL_MAP_ENDINGS[0],
        formats: Sequence[str] = (),
    ) -> str:
        """The model's name, which may be left out where there is one.

        Raises:
            HTTPException: An unknown model (404), class, task, ending or format (400).
        """
        if model is None and len(self.models) == 1:
            (model,) = self.models
        there = f"choose from {', '.join(self.models)}"
        if model is None:
            raise HTTPException(400, f"name a model: {there}")
        if model not in self.models:
            raise HTTPException(404, f"no model {model!r}; {there}")
        facts = self.models[model]
        if task is not None and task not in facts["tasks"]:
            known = f"choose from {listed(list(facts['tasks']))}" if facts["tasks"] else "it was trained without tasks"
            raise HTTPException(400, f"model {model} has no task {task!r}; {known}")
        known_classes = facts["classes"] if task is None else facts["tasks"][task]
        for name in classes or ():
            if name not in known_classes:
                under = "" if task is None else f" under task {task!r}"
                raise HTTPException(400, f"model {model} has no class {name!r}{under}; choose from {listed(list(known_classes))}")
        if ending not in LABEL_MAP_ENDINGS:
            raise HTTPException(400, f"no label map can be written as {ending!r}; choose from {', '.join(LABEL_MAP_ENDINGS)}")
        for name in formats:
            if name not in DICOM_ENDINGS:
                raise HTTPException(400, f"no format {name!r}; choose from {', '.join(DICOM_ENDINGS)}")
        return model

    def check_room(self) -> None:
        """Raise HTTPException (429) where no further job may wait."""
        try:
            self.queue.check_room()
        except QueueFull as error:
            raise busy(429, _FULL) from error

    async def take_job(
        self,
        request: Request,
        make: Callable[[str, Received], Awaitable[ServedJob]],
        takes_fields: bool = False,
    ) -> ServedJob:
        """Receive a job and let it wait.

        Args:
            make: (identifier, what was received) -> the job.
            takes_fields: See `Receiver.receive`.

        Raises:
            HTTPException: It is refused.
        """
        self.check_room()
        async with self.receiver.slot():
            identifier, folder = await run_in_threadpool(self.queue.new_folder)
            async with removed_on_error(folder):
                job = await make(identifier, await self.receiver.receive(request, folder, FILE_FIELDS, takes_fields))
                try:
                    await run_in_threadpool(self.queue.submit, job)
                except QueueFull as error:
                    raise busy(429, _FULL) from error
        return job

    def new_job(
        self,
        identifier: str,
        model: str,
        image: SentImage | None,
        classes: Sequence[str] | None,
        task: str | None,
        ending: str,
        *,
        formats: Sequence[str] = (),
        is_packed: bool = True,
    ) -> ServedJob:
        """A job that may be submitted.

        Raises:
            HTTPException: There is no image (400), or it has not the model's channels, or is no series as a format needs it.
        """
        if image is None:
            raise HTTPException(400, "no image in the request; send a file as its body, or as field `file` of a form")
        channels = self.models[model]["channels"]
        if (1 if image.is_series else len(image.files)) != len(channels):
            sent = "a DICOM series" if image.is_series else f"{len(image.files)} files"
            raise HTTPException(400, f"{sent}, and model {model} takes a file per channel: {', '.join(channels)}, in this order")
        if formats and not image.is_series:
            raise HTTPException(400, f"{formats[0]} is written of a DICOM series only, and the image is none")
        named = None if classes is None else list(classes)
        files = [str(file) for file in image.files]
        return ServedJob(identifier, model, named, task, files, image.is_series, ending, is_packed, list(formats))
