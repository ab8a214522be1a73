"""cdpd merge: several nnU-Net raw datasets -> one multi-source dataset."""

from argparse import ArgumentParser, Namespace

from nnunetv2_cdpd.cli.options import add_processes, add_spec, reporter

DESCRIPTION = "Merge nnU-Net raw datasets, each labelling other structures, into one dataset to train on."


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-d", "--datasets", nargs="+", required=True, help="ids, names or folders of the datasets to merge")
    parser.add_argument("--id", type=int, required=True, dest="dataset_id", help="id of the merged dataset, 1 ... 999")
    parser.add_argument("--name", required=True, help="name of the merged dataset: nnUNet_raw/Dataset<id>_<name>")
    add_spec(parser, "YAML: other class names, what a source annotates, nesting (docs/merge.md)")
    parser.add_argument("--prefix", action="store_true", help="put the source's name before each case identifier")
    parser.add_argument("--update", action="store_true", help="go on in a folder that was merged from other datasets")
    parser.add_argument(
        "--exclude-duplicates-of",
        nargs="+",
        default=[],
        metavar="DATASET_OR_FOLDER",
        help="leave out cases that show a scan of these datasets or folders of images, such as a test set",
    )
    parser.add_argument(
        "--no-duplicates-search", action="store_true", help="do not read the images to keep the same scan in one fold"
    )
    add_processes(parser)


def run(args: Namespace) -> None:
    from nnunetv2.configuration import default_num_processes

    from nnunetv2_cdpd.merge import merge_datasets
    from nnunetv2_cdpd.merge.summary import summary

    folder = merge_datasets(
        args.datasets,
        args.dataset_id,
        args.name,
        spec=args.spec,
        num_processes=default_num_processes if args.num_processes is None else args.num_processes,
        prefix=args.prefix,
        update=args.update,
        search_duplicates=not args.no_duplicates_search,
        exclude_duplicates_of=args.exclude_duplicates_of,
        report=reporter(args.flags),
    )
    print(f"\n{folder}\n\n{summary(folder)}\n\nNext:")
    print(f"  nnUNetv2_plan_and_preprocess -d {args.dataset_id} -pl nnUNetPlannerCDPD --verify_dataset_integrity")
    print(f"  nnUNetv2_train {args.dataset_id} 3d_fullres 0 -tr nnUNetTrainerCDPD -p nnUNetCDPDPlans")
