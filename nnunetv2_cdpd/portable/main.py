"""The runner's command: label maps of images with an exported model.

python -m nnunetv2_cdpd.portable MODEL IMAGE [IMAGE ...] LABELS
python runner.pyz                MODEL IMAGE [IMAGE ...] LABELS     (the file that cdpd export-onnx --runner writes)
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_cdpd.errors import UserError, one_line

DONE_CODE, FAILED_CODE = 0, 1
_DESCRIPTION = """
The label map of an image, with a model that cdpd export-onnx wrote. Needs numpy, onnxruntime, SimpleITK and filelock.

IMAGES are a file per channel of one image, LABELS the file to write (.nii.gz, .nii, .nrrd, .mha); one that is there stays.
"""


def runner_main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser("runner", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="the .onnx file")
    parser.add_argument("files", type=Path, nargs="*", metavar="IMAGES LABELS", help="a file per channel, and the label map")
    parser.add_argument("--describe", action="store_true", help="print what the model says of itself, as JSON, and stop")
    parser.add_argument("--step_size", type=float, default=0.5, metavar="SHARE", help="of the windows (default: %(default)s)")
    parser.add_argument(
        "--disable_tta", action="store_true", help="no mirrored images, which a model may be trained with; faster"
    )
    parser.add_argument("--windows_per_batch", type=int, default=1, metavar="N", help="run at a time (default: %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="of onnxruntime (default: one per core)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    args = parser.parse_args(arguments)
    if not args.describe and len(args.files) < 2:
        parser.error("give at least one IMAGE, and LABELS")
    try:
        return _run(args)
    except (UserError, OSError, MemoryError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return FAILED_CODE


def _run(args: argparse.Namespace) -> int:
    try:
        from nnunetv2_cdpd.portable.images import check_output, read_image, write_labels
        from nnunetv2_cdpd.portable.runner import OnnxModel
    except ImportError as error:
        raise UserError(f"{error.name} cannot be imported; pip install numpy onnxruntime SimpleITK filelock") from error
    if args.threads is not None and args.threads < 1:
        raise UserError(f"--threads {args.threads}: give 1 or more")
    *files, output = args.files or [None]
    if not args.describe:
        check_output(output)
    model = OnnxModel(args.model, args.threads)
    if args.describe:
        print(model.description.to_json())
        return DONE_CODE
    image = read_image(files, model.description.channels, model.description.reorient)
    shown = not args.quiet and sys.stderr.isatty()
    labels = model.predict(
        image,
        step_size=args.step_size,
        use_mirroring=not args.disable_tta,
        windows_per_batch=args.windows_per_batch,
        progress=_show if shown else lambda done, total: None,
    )
    write_labels(output, labels, image)
    if not args.quiet:
        print(f"written to {output}")
    return DONE_CODE


def _show(done: int, total: int) -> None:
    print(f"\rwindows {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
