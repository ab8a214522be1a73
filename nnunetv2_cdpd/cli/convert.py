"""cdpd convert: a public dataset, or one's own by a YAML -> nnU-Net raw dataset."""

from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path

from nnunetv2_cdpd.cli.flags import report_failed, reporter, with_flags
from nnunetv2_cdpd.cli.options import add_parts, add_processes, given

DESCRIPTION = "Convert a public dataset (`cdpd sources` lists them), or your own by --spec, to an nnU-Net raw dataset."
EXAMPLES = (
    "cdpd convert KITS23 ~/kits23 -d 301",
    "cdpd convert MSD_Liver ~/Task03_Liver --limit 5          # a first look",
    "cdpd convert --spec my.yaml ~/my_data -d 310",
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="public dataset; left out with --spec")
    parser.add_argument("source_folder", type=Path, nargs="?", metavar="FOLDER", help="in which it was unpacked; or -i FOLDER")
    parser.add_argument("-i", type=Path, dest="input", metavar="FOLDER", help=SUPPRESS)
    parser.add_argument(
        "-d",
        "--id",
        type=int,
        dest="dataset_id",
        metavar="ID",
        help="of the new dataset (default: as before, or the first free from 300)",
    )
    parser.add_argument("--spec", type=Path, metavar="FILE", help="YAML that declares your own data (docs/conversion.md)")
    add_processes(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="convert the first N cases only")
    add_parts(parser)
    parser.add_argument("--copy", action="store_true", help="copy files that need no change (default: hard links)")
    parser.add_argument("--resample-labels", action="store_true", help="bring labels on another grid to that of their image")
    parser.add_argument("--split-sides", action="store_true", help="separate merged left/right labels where that is unambiguous")
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="CASE", help="cases to leave out")


def run(args: Namespace) -> int:
    from nnunetv2_cdpd.conversion.declaration_file import read_declaration
    from nnunetv2_cdpd.conversion.registry import public_dataset
    from nnunetv2_cdpd.conversion.run import Options, convert
    from nnunetv2_cdpd.conversion.summary import summary
    from nnunetv2_cdpd.errors import UserError

    if args.input is None and args.source_folder is None and args.name is not None:  # only one was given: the folder
        args.name, args.source_folder = None, Path(args.name)
    folder = args.source_folder or args.input
    if (args.name is None) == (args.spec is None) or folder is None or (args.source_folder and args.input):
        raise UserError("give the name of a public dataset (`cdpd sources` lists them) or `--spec my.yaml`, and the folder")
    dataset = public_dataset(args.name) if args.spec is None else read_declaration(args.spec)
    names = ("limit", "part_id", "num_parts", "copy", "resample_labels", "split_sides")
    options = Options(**given(args, *names), leave_out=tuple(args.leave_out))
    outcome = convert(
        dataset,
        folder,
        args.dataset_id,
        options=options,
        num_processes=args.num_processes,
        report=reporter(args.flags),
    )
    print(f"\n{with_flags(summary(outcome), args.flags)}")
    if outcome.complete:
        number = outcome.folder.name[7:10].lstrip("0")
        print(f"\nNext:\n  nnUNetv2_plan_and_preprocess -d {number} -pl nnUNetPlannerCDPD --verify_dataset_integrity")
        print(f"  or `cdpd merge -d {number} ...` with other datasets")
    return report_failed(outcome.failed.items(), args.flags)
