"""cdpd merge: several nnU-Net raw datasets -> one multi-source dataset."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from nnunetv2_cdpd.cli.flags import reporter
from nnunetv2_cdpd.cli.options import add_processes, given

DESCRIPTION = "Merge nnU-Net raw datasets, each labelling other structures, into one dataset to train on."
EXAMPLES = (
    "cdpd merge -d 301 302 310 --id 400 --name MultiCT --dry-run --write-spec merge.yaml",
    "cdpd merge -d 301 302 310 --id 400 --name MultiCT",
    "cdpd merge -d 301 302 310 --id 400 --name MultiCT --spec merge.yaml --exclude-duplicates-of /data/test/images",
    "cdpd merge -d 301 302 310 --id 401 --name FreeCT --license commercial",
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-d", "--datasets", nargs="+", required=True, metavar="DATASET", help="ids, names or folders")
    parser.add_argument("--id", type=int, required=True, dest="dataset_id", metavar="ID", help="of the merged dataset, 1 ... 999")
    parser.add_argument("--name", required=True, metavar="NAME", help="of the merged dataset: nnUNet_raw/Dataset<ID>_<NAME>")
    spec = "YAML: other class names, what a source annotates, nesting (docs/merge.md)"
    parser.add_argument("--spec", type=Path, metavar="FILE", help=spec)
    parser.add_argument("--prefix", action="store_true", help="put the source's name before each case identifier")
    parser.add_argument(
        "--update",
        action="store_true",
        help="go on in a folder that was merged from other datasets or with other names of the classes",
    )
    parser.add_argument(
        "--exclude-duplicates-of",
        nargs="+",
        default=[],
        metavar="DATASET_OR_FOLDER",
        help="leave out cases that show a scan of these datasets or folders of images, such as a test set",
    )
    parser.add_argument(
        "--no-duplicates-search",
        action="store_false",
        dest="search_duplicates",
        help="do not read the images to keep the same scan in one fold",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, print what would be written, write nothing")
    parser.add_argument(
        "--write-spec", type=Path, metavar="FILE", help="write the YAML that was inferred, to look at or to change"
    )
    parser.add_argument(
        "--license",
        choices=("commercial", "research"),
        help="keep only sources whose license is known to allow this use, and say what is left out and why (docs/card.md)",
    )
    add_processes(parser)


def run(args: Namespace) -> None:
    from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, read_dataset_json
    from nnunetv2_cdpd.merge import merge_datasets
    from nnunetv2_cdpd.merge.summary import merge_summary

    names = ("spec", "num_processes", "prefix", "update", "search_duplicates", "exclude_duplicates_of", "dry_run", "write_spec")
    options = given(args, *names, "license")
    folder = merge_datasets(args.datasets, args.dataset_id, args.name, report=reporter(args.flags), **options)
    if args.dry_run:
        return
    merged = read_dataset_json(folder / FILE_NAME)
    print(f"\n{folder}\n\n{merge_summary(merged.annotation, merged.content['cdpd'])}\n\nNext:")
    print(f"  nnUNetv2_plan_and_preprocess -d {args.dataset_id} -pl nnUNetPlannerCDPD --verify_dataset_integrity")
    print(f"  nnUNetv2_train {args.dataset_id} 3d_fullres 0 -tr nnUNetTrainerCDPD -p nnUNetCDPDPlans")
