"""Worker: the process that holds the models, and the server's side of it.

A process of its own, because a prediction would keep the server from answering (one Python runs at a time in a process), and
because what ends it (no memory, a crash in a library) must not end the server: it is started anew. The two exchange JSON.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import UserError, one_line
from nnunetv2_cdpd.serve.limits import Limits

_TOLD_SECONDS = 0.1  # between two reports of progress
_KILLED = -9
_STOP_SECONDS = 2.0  # that a process has to end


class JobFailed(Exception):
    """A job has no result; the message is a line for the client."""


class JobCancelled(Exception):
    """A job was ended by its client."""


class Worker:
    """The process, as the server sees it. For one thread.

    Args:
        models: Name -> folder.
        settings: Of `Predictor.from_folder`, JSON-able.
    """

    def __init__(self, models: Mapping[str, Path], limits: Limits, settings: Mapping[str, Any]) -> None:
        self._arguments = ({name: str(folder) for name, folder in models.items()}, asdict(limits), dict(settings))
        self._limits = limits
        self._context = get_context("spawn")
        self._process: Any = None
        self._connection: Connection
        self._serial = 0  # of the job that the process works on

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> dict[str, Any]:
        """Start the process and have it load the models; their descriptions (`LoadedModels.described`).

        Raises:
            UserError: A model cannot be loaded.
        """
        self.stop()
        self._connection, its = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(its, *self._arguments), daemon=True)
        self._process.start()
        its.close()
        message = self._message(None)
        if message is None:
            raise UserError(f"the process that loads the models ended ({_how_ended(self._process)})")
        if "error" in message:
            self.stop()
            raise UserError(message["error"])
        return message["ready"]

    def run(
        self, request: Mapping[str, Any], report: Callable[[int, int], Any], is_cancelled: Callable[[], bool]
    ) -> dict[str, Any]:
        """Run a job: notes on the image, and the values of the classes.

        Args:
            request: Arguments of `PredictionRequest`, JSON-able.
            report: Hears how many windows are done, of how many.

        Raises:
            JobFailed: See there. The process may have ended; the next job starts it anew.
            JobCancelled: See there.
        """
        if self._process is None or not self._process.is_alive():  # also where it ended while there was nothing to do
            try:
                self.start()
            except UserError as error:  # which names folders of this machine
                raise JobFailed("the models could not be loaded again; the server's log says why") from error
        self._serial += 1
        is_told = False
        self._say(job=self._serial, **request)
        end = time.monotonic() + 60 * self._limits.job_minutes
        while True:
            if is_cancelled() and not is_told:
                is_told = True
                self._say(cancel=self._serial)
            message = self._message(0.2)
            if message is None:
                how = _how_ended(self._process)
                self.stop()
                raise JobFailed(
                    f"the process that predicted it ended ({how}); send a smaller part of the image, or fewer classes"
                )
            if "windows" in message:
                report(*message["windows"])
            elif "cancelled" in message:
                raise JobCancelled
            elif "failed" in message:
                if message["is_unexpected"]:  # what else is broken in that process nobody knows
                    self.stop()
                raise JobFailed(message["failed"])
            elif "done" in message:
                return message["done"]
            elif time.monotonic() > end:
                self.stop()
                raise JobFailed(f"it took longer than {self._limits.job_minutes:g} minutes, and was ended")

    def _say(self, **message: Any) -> None:
        with suppress(OSError):  # it has ended, which is told by its silence
            self._connection.send_bytes(json.dumps(message).encode())

    def _message(self, seconds: float | None) -> dict[str, Any] | None:
        """What the process says next; {} if it says nothing for so long, None if it has ended."""
        if not wait([self._connection], seconds):
            return {}
        try:
            return json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            self._process.join(_STOP_SECONDS)
            return None

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is None:
            return
        self._connection.close()  # at which it ends by itself, unless it is amid something long
        for end in (None, self._process.terminate, self._process.kill):
            if end is not None:
                end()
            self._process.join(_STOP_SECONDS)
            if not self._process.is_alive():
                break
        self._process = None


def _how_ended(process: Any) -> str:
    if process.exitcode == _KILLED:
        return "it was killed, most likely for lack of memory"
    names = {entry.value: entry.name for entry in signal.Signals}
    return names.get(-(process.exitcode or 0), f"exit code {process.exitcode}")


def _work(connection: Connection, models: Mapping[str, str], limits: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """The process: loads the models, then predicts what it is told until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the terminal sends to all; the server ends this process
    _end_with_the_server()
    sys.stdout = sys.stderr  # libraries tell of themselves

    def say(**message: Any) -> None:
        connection.send_bytes(json.dumps(message).encode())

    told, job = 0.0, 0

    def report(done: int, total: int) -> None:
        nonlocal told
        try:
            while connection.poll():  # while it works the server only says that a job is not wanted any more
                if json.loads(connection.recv_bytes()).get("cancel") == job:
                    raise JobCancelled
        except (EOFError, OSError):  # nor is this process
            sys.exit()
        if done == total or time.monotonic() - told > _TOLD_SECONDS:
            told = time.monotonic()
            say(windows=[done, total])

    try:
        from nnunetv2_cdpd.serve.predicting import LoadedModels, PredictionRequest, without_paths

        folders = {name: Path(folder) for name, folder in models.items()}
        loaded = LoadedModels(folders, Limits(**limits), settings, report)
        described = loaded.described()
    except Exception as error:  # told by the server
        say(error=one_line(error))
        return
    say(ready=described)
    while True:
        try:
            asked = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        if "cancel" in asked:  # of a job that was done by then
            continue
        job = asked.pop("job")
        asked |= {"folder": Path(asked["folder"]), "files": [Path(file) for file in asked["files"]]}
        request = PredictionRequest(**asked)
        notes: list[str] = []
        try:
            values = loaded.predict(request, notes.append)
        except JobCancelled:
            say(cancelled=True)
        except UserError as error:
            say(failed=without_paths(one_line(error), request), is_unexpected=False)
        except Exception as error:  # no memory, or a fault of ours: the next job gets a new process
            say(failed=without_paths(one_line(error), request), is_unexpected=True)
        else:
            say(done={"notes": notes, "values": values})


def _end_with_the_server() -> None:
    """Have this process end when the server's does, also while it predicts."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
