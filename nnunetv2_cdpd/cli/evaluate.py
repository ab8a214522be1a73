"""cdpd evaluate: score predictions on what each source annotates."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.flags import report_failed, reporter
from nnunetv2_cdpd.cli.options import DATASET_HELP, add_output, add_place, add_processes, given
from nnunetv2_cdpd.evaluation.protocols import DEFAULT_TOLERANCE_MM, NNUNET, PROTOCOLS

DESCRIPTION = """
Score predictions against references, in each case only on the classes that its source annotates.

Writes summary.json (nnU-Net's format and more), metrics.csv and summary.txt, and prints the table. Classes of the
prediction and of the reference are matched by name. Predictions come first; nnU-Net's own commands take the references first.

With --compare, the same for another folder of predictions, and a paired test for each class: comparison.json, .csv, .txt.
"""
EXAMPLES = (
    "cdpd evaluate predictions nnUNet_raw/Dataset310_ORGANS/labelsTs",
    "cdpd evaluate -ref nnUNet_raw/Dataset310_ORGANS/labelsTs -pred predictions",
    "cdpd evaluate predictions export --spec my.yaml -o scores  # references are RTSTRUCT or SEG",
    "cdpd evaluate predictions labelsTs -d 310 --compare predictions_of_another_model -o comparison",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    predicted = "predicted label maps, as nnUNetv2_predict writes them"
    add_place(parser, ("-pred", "--pred", "-i"), "pred_dir", predicted, metavar="PRED_DIR")
    references = "reference label maps, like labelsTr or gt_segmentations"
    add_place(parser, ("-ref", "--ref", "-gt"), "gt_dir", references, metavar="GT_DIR")
    parser.add_argument(
        "-d",
        "--dataset",
        dest="dataset_json",
        metavar="DATASET",
        help=f"of the references: {DATASET_HELP} (default: in GT_DIR or in the folder above)",
    )
    parser.add_argument(
        "--spec",
        type=Path,
        metavar="FILE",
        help="references are RTSTRUCT or SEG: the YAML of `cdpd convert --spec` that names their structures; "
        "GT_DIR is the folder of the export, image series included",
    )
    parser.add_argument(
        "--protocol",
        choices=tuple(PROTOCOLS),
        default=NNUNET.name,
        help="nnunet: as the label maps lie, in mm, cases without the class count; paper: as the released CDPDNet code does, "
        "on a grid of 1.5 mm, HD95 in its voxels, only cases whose reference holds the class (default: %(default)s)",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        dest="other_dir",
        metavar="OTHER_DIR",
        help="predictions of another model, or those before `cdpd clean`, for the same cases",
    )
    parser.add_argument(
        "--tolerance-mm",
        type=float,
        default=DEFAULT_TOLERANCE_MM,
        metavar="MM",
        help="surfaces closer than this agree, for the surface Dice (default: %(default)s)",
    )
    add_output(parser, "folder for the results (default: PRED_DIR)")
    add_processes(parser, "default: nnU-Net's, at most one per core")
    parser.add_argument(
        "--allow-missing", action="store_true", help="score the cases with prediction and reference, leave others out"
    )
    parser.add_argument(
        "--fully-annotated",
        action="store_true",
        help="cases that no source of the dataset.json lists hold every class wherever it occurs",
    )


def run(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.evaluation.evaluate import compare_folders, evaluate_folder
    from nnunetv2_cdpd.evaluation.scoring import EvaluationOptions
    from nnunetv2_cdpd.evaluation.tables import comparison_table, text_table

    unread: dict[str, str] = {}
    without: frozenset[str] = frozenset()
    output = args.output or args.pred_dir
    if args.spec is not None:
        unread, without = _make_label_maps(args, output)
    names = ("protocol", "tolerance_mm", "num_processes", "allow_missing", "fully_annotated")
    options = EvaluationOptions(**given(args, *names), known_missing=without, report=reporter(args.flags))
    places = {"dataset_json": args.dataset_json, "output": args.output if args.spec is None else output}
    if args.other_dir is None:
        results = evaluate_folder(args.pred_dir, args.gt_dir, **places, options=options)
        print(text_table(results))
        failed = [*results.problems.items(), *unread.items()]
    else:
        comparison = compare_folders(args.pred_dir, args.other_dir, args.gt_dir, **places, options=options)
        print(text_table(comparison.results))
        print(comparison_table(comparison, str(args.pred_dir), str(args.other_dir)))
        failed = [*comparison.results.problems.items(), *comparison.other.problems.items(), *unread.items()]
    print(f"written to {output}")
    return report_failed(failed, args.flags)


def _make_label_maps(args: argparse.Namespace, output: Path) -> tuple[dict[str, str], frozenset[str]]:
    """Put label maps in the place of the folders that were given; returns the cases that failed, why, and all without a map."""
    from nnunetv2_cdpd.conversion.declaration_file import read_declaration
    from nnunetv2_cdpd.conversion.references import label_maps_to_compare
    from nnunetv2_cdpd.errors import UserError

    if args.dataset_json is not None:
        raise UserError("argument dataset_json: argument spec says what references hold; leave one of the two out")
    folders = [folder for folder in (args.pred_dir, args.other_dir) if folder is not None]
    made = label_maps_to_compare(
        read_declaration(args.spec),
        args.gt_dir,
        folders,
        output,
        allow_missing=args.allow_missing,
        num_processes=args.num_processes,
        report=reporter(args.flags),
    )
    args.gt_dir, args.pred_dir = made.references, made.predictions[0]
    if args.other_dir is not None:
        args.other_dir = made.predictions[1]
    return made.failed, made.without
