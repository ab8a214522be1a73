"""cdpd serve: models that are loaded once, and predict what clients send."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from nnunetv2_cdpd.cli.flags import reporter
from nnunetv2_cdpd.cli.options import add_device, given
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.serve.limits import Limits

DESCRIPTION = """
Serve models over HTTP: clients send a volume or a zip of a DICOM series and get a label map and statistics. The models are
loaded once. MONAI Label's clients (3D Slicer, OHIF, Python) can be connected too. /docs lists all requests.

Only this machine is served, unless --host says otherwise; then each request needs a token, from --token-file or the variable
CDPD_SERVE_TOKEN.
"""
EXAMPLES = (
    "cdpd serve MODEL_FOLDER",
    "cdpd serve liver=MODEL_1 kidney=MODEL_2 --state /srv/cdpd --max-queued 50",
    "cdpd serve MODEL_FOLDER --host 0.0.0.0 --token-file token.txt",
    "cdpd serve MODEL_FOLDER --images DICOM_FOLDER --allow-origin http://localhost:3000   # for OHIF",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    limits = Limits()
    what = "model folder, TRAINER__PLANS__CONFIGURATION, also as NAME=FOLDER (default name: its dataset's)"
    parser.add_argument("models", nargs="+", metavar="MODEL", help=what)
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("cdpd_serve"),
        metavar="FOLDER",
        help="folder for jobs and results (default: %(default)s)",
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="its volumes and DICOM series may be named, not sent (OHIF)"
    )
    where = parser.add_argument_group("address")
    where.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (default: %(default)s, this machine)")
    where.add_argument("--port", type=int, default=8000, metavar="N", help="0: a free one (default: %(default)s)")
    where.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token that each request must have")
    where.add_argument("--allow-origin", dest="origins", nargs="+", default=(), metavar="URL", help="web pages that may ask")
    where.add_argument("--server-name", dest="hosts", nargs="+", default=(), metavar="NAME", help="further names of this machine")

    how = parser.add_argument_group("prediction")
    add_device(how)
    how.add_argument("-f", "--folds", nargs="+", metavar="FOLD", help="folds to average (default: all that are trained)")
    how.add_argument(
        "-chk", dest="checkpoint_name", metavar="FILE", default="checkpoint_final.pth", help="of each fold (default: %(default)s)"
    )
    how.add_argument("-step_size", type=float, dest="tile_step_size", metavar="SHARE", help="as of cdpd predict")
    how.add_argument("--disable_tta", action="store_false", dest="use_mirroring", help="no average over mirrored images; faster")
    how.add_argument("--not_on_device", action="store_true", help="keep results in main memory, for a GPU with little")

    most = parser.add_argument_group("limits")
    for flag, dest, kind, unit, what in (
        ("--max-upload", "upload_mb", int, "MB", "of one request"),
        ("--max-uploads", "uploads", int, "N", "received at a time"),
        ("--max-queued", "queued", int, "N", "jobs that wait"),
        ("--max-voxels", "megavoxels", int, "MILLIONS", "of one image"),
        ("--max-minutes", "job_minutes", float, "N", "that a job may run"),
        ("--keep", "kept_jobs", int, "N", "finished jobs, and images, that are kept"),
        ("--keep-hours", "kept_hours", float, "N", "for how long they are kept"),
        ("--patience", "patience_seconds", float, "SECONDS", "that a client may neither send nor read"),
    ):
        default = getattr(limits, dest)
        most.add_argument(flag, type=kind, dest=dest, default=default, metavar=unit, help=f"{what} (default: %(default)g)")


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.serve.run import ServeOptions, serve_models

    names = ("folds", "checkpoint_name", "device", "tile_step_size", "use_mirroring")
    options = ServeOptions(
        _named(args.models),
        args.state,
        limits=Limits(**{entry.name: getattr(args, entry.name) for entry in fields(Limits)}),
        settings={**given(args, *names), "perform_everything_on_device": not args.not_on_device},
        **given(args, "host", "port", "token_file", "origins", "hosts", "images"),
    )
    say = reporter(args.flags)

    def tell(line: str) -> None:
        say(line)
        sys.stdout.flush()  # a log file should have it now

    serve_models(options, tell)


def _named(models: Sequence[str]) -> dict[str, Path]:
    """Name -> folder.

    Raises:
        UserError: Two models of one name, or a name that is no part of an address.
    """
    named: dict[str, Path] = {}
    for model in models:
        name, is_named, place = model.partition("=")
        folder = Path(place if is_named and not Path(model).exists() else model)
        if not is_named or folder == Path(model):
            whole = folder.resolve()
            name = whole.parent.name if whole.name.count("__") == 2 else whole.name
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            raise UserError(
                f"argument models {model}: {name!r} cannot be a part of an address; name it otherwise, as liver={folder}"
            )
        if name in named:
            raise UserError(f"argument models: {named[name]} and {folder} are both called {name}; name one, as other={folder}")
        named[name] = folder
    return named
