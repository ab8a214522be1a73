"""cdpd predict: label maps of images, with little memory, of chosen classes, resumable."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_cdpd.cli.flags import report_failed, reporter
from nnunetv2_cdpd.cli.options import ListInstead, add_device, add_output, add_parts, given
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.decodings import DECODINGS, HALF
from nnunetv2_cdpd.inference.formats import FORMATS, NIFTI
from nnunetv2_cdpd.link import DEFAULT_PLANS, DEFAULT_TRAINER

if TYPE_CHECKING:
    from nnunetv2_cdpd.inference.outputs import Outputs
    from nnunetv2_cdpd.inference.predictor import Predictor
    from nnunetv2_cdpd.quality.predicting import QualityCompanion

DESCRIPTION = """
Predict images with a trained model. Flags that nnUNetv2_predict has are the same here.

IMAGES is a file, a folder (CASE_0000.nii.gz, ... or, for models of one channel, any names) or a folder of DICOM series, at any
depth. Of an image with several channels give the file of any one, CASE_0000.nii.gz; the others are found beside it.

OUTPUT is a folder or, for one image, the label map itself, as liver.nii.gz; a file that is there already is left alone.
Where classes overlap, the most probable one wins, and a nested class is labelled inside of its parent.
"""
EXAMPLES = (
    "cdpd predict -i imagesTs -o predictions -d 400",
    "cdpd predict -i scan.nii.gz -o liver.nii.gz -m MODEL_FOLDER --classes liver liver_tumor",
    "cdpd predict -i DICOM_FOLDER -o predictions -d 400 --task KITS23 --format nifti dicom-seg rtstruct --stats",
    "cdpd predict -m MODEL_FOLDER --list-classes",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    images = "a file, a folder, or DICOM series"
    parser.add_argument("-i", type=Path, dest="input", metavar="IMAGES", required=True, help=images)
    add_output(parser, "folder for the predictions, or file for the label map of one image", metavar="OUTPUT", required=True)
    listing = "print the model's classes, and its sources (tasks) with what each annotates; needs neither -i nor -o"
    parser.add_argument("--list-classes", action=ListInstead, help=listing)
    model = parser.add_argument_group("model")
    which = model.add_mutually_exclusive_group(required=True)
    which.add_argument("-m", type=Path, dest="model", metavar="FOLDER", help="model folder, TRAINER__PLANS__CONFIGURATION")
    which.add_argument("-d", dest="dataset", metavar="DATASET", help="dataset name or id; its model lies in nnUNet_results")
    model.add_argument(
        "-tr", dest="trainer", metavar="NAME", default=DEFAULT_TRAINER, help="trainer, with -d (default: %(default)s)"
    )
    model.add_argument("-p", dest="plans", metavar="NAME", default=DEFAULT_PLANS, help="plans, with -d (default: %(default)s)")
    model.add_argument(
        "-c", dest="configuration", metavar="NAME", default="3d_fullres", help="configuration, with -d (default: %(default)s)"
    )
    model.add_argument("-f", "--folds", nargs="+", metavar="FOLD", help="folds to average (default: all that are trained)")
    model.add_argument(
        "-chk", dest="checkpoint_name", metavar="FILE", default="checkpoint_final.pth", help="of each fold (default: %(default)s)"
    )

    what = parser.add_argument_group("what to predict")
    what.add_argument(
        "--classes", nargs="+", metavar="CLASS", help="these only, where a prediction of all has them (see --list-classes)"
    )
    what.add_argument(
        "--task", metavar="SOURCE", help="use this source's task prompt, and predict what it annotates (see --list-classes)"
    )
    what.add_argument(
        "--decode",
        choices=DECODINGS,
        default=HALF,
        help="where a class begins: at a probability of 0.5, or where the highest Dice is expected (default: %(default)s)",
    )
    what.add_argument(
        "--clean", action="store_true", help="clean up by anatomy, as `cdpd clean`; by place, too, where the model has it"
    )
    what.add_argument("--one-file-per-class", action="store_true", help="a folder per case with a mask per class, no label map")
    what.add_argument(
        "--format",
        nargs="+",
        dest="formats",
        choices=FORMATS,
        default=[NIFTI],
        metavar="FORMAT",
        help=f"of the label map, one or more of {', '.join(FORMATS)}; the DICOM ones for DICOM series only (default: {NIFTI})",
    )
    what.add_argument(
        "--save_probabilities", "--probabilities", action="store_true", dest="probabilities", help="nnU-Net's npz and pkl, too"
    )
    what.add_argument(
        "--bids",
        nargs="?",
        const="",
        metavar="SUFFIX",
        help="IMAGES are a BIDS dataset, or files with BIDS names (of this suffix, as T1w); OUTPUT becomes a derivatives dataset",
    )
    what.add_argument("--stats", action="store_true", help="volume, mean HU and centroid per class: statistics.json and .csv")
    what.add_argument(
        "--quality",
        action="store_true",
        help="a predicted Dice, a range for the volume, and what to look at, per class: quality.json and .csv (docs/quality.md)",
    )
    what.add_argument(
        "--calibrate_probabilities", action="store_true", help="make those of --save_probabilities as often right as they say"
    )

    how = parser.add_argument_group("how")
    add_device(how)
    how.add_argument(
        "-step_size",
        type=float,
        dest="tile_step_size",
        default=0.5,
        metavar="SHARE",
        help="step of the sliding window, as a share of the window (default: %(default)s)",
    )
    mirror = how.add_mutually_exclusive_group()
    mirror.add_argument(
        "--tta",
        action="store_true",
        dest="use_mirroring",
        default=True,
        help="average over mirrored images, if trained so (default)",
    )
    mirror.add_argument("--disable_tta", action="store_false", dest="use_mirroring", help="do not; faster")
    how.add_argument(
        "--continue_prediction", "--resume", "--c", action="store_true", dest="resume", help="leave finished cases alone"
    )
    add_parts(how)
    how.add_argument("-npp", type=int, dest="num_readers", default=1, metavar="N", help="cases read ahead (default: %(default)s)")
    how.add_argument(
        "-nps",
        type=int,
        dest="num_exporters",
        default=1,
        metavar="N",
        help="cases exported in the background (default: %(default)s)",
    )
    how.add_argument(
        "-prev_stage_predictions",
        type=Path,
        dest="previous_stage",
        metavar="FOLDER",
        help="predictions of a cascade's lower stage",
    )
    how.add_argument("-windows_per_batch", type=int, metavar="N", help="predicted at a time (default: 2 on a GPU, else 1)")
    how.add_argument("--align_windows", action="store_true", help="let windows share slices; changes the result a little")
    how.add_argument("--not_on_device", action="store_true", help="keep results in main memory, for a GPU with little")
    how.add_argument("--disable_progress_bar", action="store_false", dest="progress", help="show no progress")
    how.add_argument("--verbose", action="store_true", help="tell more of what is done")


def run(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.inference.bids import find_bids_cases
    from nnunetv2_cdpd.inference.formats import check_formats
    from nnunetv2_cdpd.inference.inputs import find_image_cases, modality_of
    from nnunetv2_cdpd.inference.listing import classes_text
    from nnunetv2_cdpd.inference.models import model_folder_of, weights_digest
    from nnunetv2_cdpd.inference.one_file import is_label_map, predict_file
    from nnunetv2_cdpd.inference.outputs import Outputs
    from nnunetv2_cdpd.inference.predictor import Predictor
    from nnunetv2_cdpd.inference.run import predict_cases

    _check_bids(args)
    if args.calibrate_probabilities and not args.probabilities:
        raise UserError("argument calibrate_probabilities: of those that argument probabilities writes; give it too")
    folder = args.model or model_folder_of(args.dataset, args.trainer, args.plans, args.configuration)
    if args.list_classes:
        print(classes_text(folder))
        return 0
    check_formats(args.formats, args.one_file_per_class)
    names = ("checkpoint_name", "device", "tile_step_size", "use_mirroring", "windows_per_batch", "align_windows", "verbose")
    predictor = Predictor.from_folder(
        folder, args.folds, perform_everything_on_device=not args.not_on_device, allow_tqdm=args.progress, **given(args, *names)
    )
    how = given(args, "task", "clean", "probabilities", "decode")
    predictor.select(args.classes, **how, compute_all=args.quality)  # how good a class is, the others tell too
    tell = reporter(args.flags)
    if predictor.place_note is not None:
        tell(predictor.place_note)
    if is_label_map(args.output, predictor.file_ending):
        _check_one_file(args)
        alone = predict_file(predictor, args.input, args.output, tell=tell, output_format=args.formats[0])
        if alone.done:
            print(f"written to {args.output}")
        return report_failed(alone.failed.items(), args.flags)
    kind = predictor.file_ending, predictor.num_channels
    if args.bids is None:
        cases = find_image_cases(args.input, *kind, modality_of(predictor.dataset_json), tell=tell)
    else:
        cases = find_bids_cases(args.input, args.bids, *kind, tell)
    outputs = Outputs(
        args.output,
        predictor.file_ending,
        args.one_file_per_class,
        args.probabilities,
        args.stats,
        args.quality,
        tuple(args.formats),
    )
    companion = _companion(args, predictor, folder, outputs)
    settings = {
        "model": str(folder.resolve()),
        **{name: getattr(args, name) for name in ("folds", "classes", "task", "clean", "decode")},
        "place": predictor.place_digest,
        "checkpoint": args.checkpoint_name,
        "weights": weights_digest(predictor.list_of_parameters),
        "step_size": args.tile_step_size,
        "tta": args.use_mirroring,
        "align_windows": args.align_windows,
        **({"calibrate_probabilities": True} if args.calibrate_probabilities else {}),
    }
    work = ("resume", "part_id", "num_parts", "num_readers", "num_exporters", "previous_stage", "progress")
    outcome = predict_cases(predictor, cases, outputs, settings=settings, companion=companion, **given(args, *work))
    print(f"written to {args.output}")
    return report_failed(outcome.failed.items(), args.flags)


def _companion(args: argparse.Namespace, predictor: "Predictor", folder: Path, outputs: "Outputs") -> "QualityCompanion | None":
    """What adds the quality of predictions, or calibrates their probabilities; None: neither is wanted."""
    if not (args.quality or args.calibrate_probabilities):
        return None
    from nnunetv2_cdpd.quality.collect import PathSettings
    from nnunetv2_cdpd.quality.files import quality_model_of
    from nnunetv2_cdpd.quality.predicting import QualityCompanion

    settings = PathSettings(args.tile_step_size, args.use_mirroring, args.align_windows, args.clean, predictor.place_digest)
    model = quality_model_of(predictor, folder, settings, args.task)
    return QualityCompanion(predictor, model, outputs, settings, calibrated=args.calibrate_probabilities)


def _check_bids(args: argparse.Namespace) -> None:
    """Raise UserError for what BIDS has no names for."""
    if args.bids is not None and args.formats != [NIFTI]:
        raise UserError(f"argument bids: derivatives are {NIFTI}, and argument formats names others; leave one of them out")
    for name in ("one_file_per_class", "probabilities", "stats", "quality", "previous_stage"):
        if args.bids is not None and getattr(args, name):
            raise UserError(
                f"argument bids: argument {name} writes or reads files that BIDS has no names for; leave one of them out"
            )


def _check_one_file(args: argparse.Namespace) -> None:
    """Raise UserError for what only a folder can take."""
    for name in ("one_file_per_class", "probabilities", "stats", "quality", "resume", "previous_stage", "bids"):
        if getattr(args, name) not in (None, False):
            raise UserError(f"-o {args.output}: one label map, to which argument {name} does not go; give a folder")
    if len(args.formats) > 1:
        raise UserError(f"-o {args.output}: one label map, which cannot be of {len(args.formats)} formats; give a folder")
    if args.num_parts > 1:
        raise UserError(f"-o {args.output}: one label map, which cannot be shared among {args.num_parts} calls; give a folder")
