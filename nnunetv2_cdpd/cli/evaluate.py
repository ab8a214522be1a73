"""Score predictions against references: Dice, HD95 and surface Dice, only where the reference's source annotates the class.

Classes are matched by name between the two dataset.json files. A case counts as nnU-Net counts it: Dice is left out where
neither side has the class, and 0 where one side has none. Merged labels are scored as the union of their classes. Writes
summary.json (nnU-Net's format), metrics.csv and metrics.txt.
"""

import argparse
import sys
from pathlib import Path

from nnunetv2_cdpd.evaluation.evaluate import DEFAULT_TOLERANCE_MM


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", type=Path, metavar="PRED_DIR", help="as nnUNetv2_predict writes it")
    parser.add_argument("references", type=Path, metavar="GT_DIR", help="label maps of the same file names, e.g. labelsTr")
    parser.add_argument("--dataset", help="the references' dataset.json, its folder, or a dataset id; default: in or above GT_DIR")
    parser.add_argument("--fully-annotated", action="store_true", help="every class is labelled in every reference")
    parser.add_argument("--tolerance-mm", type=float, default=DEFAULT_TOLERANCE_MM, help="of surface Dice, default %(default)s mm")
    parser.add_argument("--allow-missing", action="store_true", help="leave references without prediction out")
    parser.add_argument("-o", "--output", type=Path, help="folder of the results, default PRED_DIR")
    parser.add_argument("-np", type=int, default=1, help="processes, default %(default)s")


def run(arguments: argparse.Namespace) -> int:
    from nnunetv2_cdpd.evaluation.evaluate import evaluate_folder
    from nnunetv2_cdpd.evaluation.tables import text_table, write_results

    evaluation = evaluate_folder(
        arguments.predictions,
        arguments.references,
        dataset_json=arguments.dataset,
        tolerance_mm=arguments.tolerance_mm,
        fully_annotated=arguments.fully_annotated,
        allow_missing=arguments.allow_missing,
        num_processes=arguments.np,
    )
    print(text_table(evaluation))
    written = write_results(evaluation, arguments.output or arguments.predictions)
    print("\nwritten: " + ", ".join(str(path) for path in written))
    for case, reason in evaluation.failed.items():
        print(f"cdpd: not scored: {case}: {reason}", file=sys.stderr)
    return 1 if evaluation.failed else 0
