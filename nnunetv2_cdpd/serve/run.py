"""Run: one server from its start to its end: state folder, address, models, jobs, requests."""

import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import output_folder
from nnunetv2_cdpd.serve.access import Access, access_for
from nnunetv2_cdpd.serve.limits import Limits

_MOST_CONNECTIONS = 512
_GOODBYE_SECONDS = 5  # that answers under way have at the end


@dataclass(frozen=True)
class ServeOptions:
    """What a server is to be.

    models: Name -> folder.
    state: Folder for jobs and results, made if it is not there.
    port: 0: any that is free.
    token_file: See `access_for`, as the next two.
    images: Folder of images that may be named; None: none.
    settings: Of `Predictor.from_folder`, JSON-able.
    """

    models: Mapping[str, Path]
    state: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    origins: Sequence[str] = ()
    hosts: Sequence[str] = ()
    images: Path | None = None
    limits: Limits = field(default_factory=Limits)
    settings: Mapping[str, Any] = field(default_factory=dict)


def serve_models(options: ServeOptions, tell: Callable[[str], None]) -> None:
    """Serve until the process is interrupted or terminated.

    Args:
        tell: Hears the address, and a line about each job.

    Raises:
        UserError: FastAPI is not installed, the address cannot be had or needs a token, the state folder is another server's, or
            a model cannot be loaded.
    """
    _check_installed()
    options.limits.check()
    if options.images is not None and not options.images.is_dir():
        raise UserError(f"{options.images}: no such folder; give one with images as argument images")
    access = access_for(options.host, options.token_file, options.origins, options.hosts)
    with _listening(options.host, options.port) as listener, output_folder(options.state):
        _serve(options, access, listener, tell)


def _serve(options: ServeOptions, access: Access, listener: socket.socket, tell: Callable[[str], None]) -> None:
    import uvicorn

    from nnunetv2_cdpd.serve.application import application
    from nnunetv2_cdpd.serve.connections import patient_for
    from nnunetv2_cdpd.serve.dispatcher import Dispatcher
    from nnunetv2_cdpd.serve.images import ImageStore
    from nnunetv2_cdpd.serve.receiving import Receiver
    from nnunetv2_cdpd.serve.server import Server
    from nnunetv2_cdpd.serve.store import open_state
    from nnunetv2_cdpd.serve.waiting import JobQueue
    from nnunetv2_cdpd.serve.worker import Worker

    state, limits = options.state.resolve(), options.limits
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # which tells of each form that it cannot read
    open_state(state)
    queue = JobQueue(state / "jobs", limits)
    worker = Worker(options.models, limits, options.settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which lets us tidy up
    try:
        models = worker.start()
        server = Server(models, queue, ImageStore(state / "images", limits, options.images), limits, access, Receiver(limits))
        config = uvicorn.Config(
            application(server),
            http=patient_for(limits.patience_seconds),
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=_GOODBYE_SECONDS,
        )
        dispatcher = Dispatcher(queue, worker, tell)
        dispatcher.start()
        host, port = listener.getsockname()[:2]
        tell(
            f"serving {', '.join(models)} on http://{f'[{host}]' if ':' in host else host}:{port} (requests: /docs); stop: Ctrl-C"
        )
        try:
            with contextlib.suppress(KeyboardInterrupt):  # the usual end
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            dispatcher.stop()
    finally:
        worker.stop()


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that has the address.

    Raises:
        UserError: The address is taken, or none of this machine.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"argument port {port}: give 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"argument host {host}: no address of this machine ({error.strerror or error})") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(f"argument port {port}: cannot be had on {host} ({why}); choose another one") from error
        yield listener


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import fastapi_offline  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"a server needs {error.name}, which is not installed; run: pip install 'nnunetv2-cdpd[serve]'"
        ) from error
