"""cdpd embed: make or show the text embeddings of a dataset's prompts."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.options import DATASET_HELP, add_dataset_place, add_output

DESCRIPTION = """
Make the text embeddings of a dataset's class and task prompts, which training otherwise makes at its start, or show those that
are there: the wording of the prompts, and how alike the classes are to the text encoder. The words of a class are made from its
name, or your own, several of which are averaged: `prompts` in the YAML of `cdpd merge`.

They are kept in nnUNet_preprocessed, DATASET/cdpd_text_embeddings.safetensors, and made anew when a prompt or the encoder
changes.
"""
EXAMPLES = (
    "cdpd embed 400 --picture similarity.png",
    "cdpd embed 400 --weights ViT-B-32.pt                     # CLIP's weights from a file, where there is no internet",
    "cdpd embed --file embeddings.safetensors                 # only show a file (ours, or tables in a .pth)",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_place(parser, DATASET_HELP, nargs="?")
    parser.add_argument("--file", type=Path, metavar="FILE", help="show this file, or folder of the released tables, instead")
    parser.add_argument(
        "--encoder", metavar="NAME", help="open_clip's MODEL/PRETRAINED or hf-hub:OWNER/NAME (default: ViT-B-32/openai)"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="the encoder's weights, a folder that open_clip reads, or ready embeddings (default: CDPD_TEXT_WEIGHTS, then the "
        "cache, then a download)",
    )
    add_output(parser, "write them to this .safetensors file instead", metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the similarities of the classes")


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.errors import UserError
    from nnunetv2_cdpd.jobs.tables import number
    from nnunetv2_cdpd.planning.text_embeddings import embed_dataset
    from nnunetv2_cdpd.pretrained.text import read_embeddings
    from nnunetv2_cdpd.text.prompts import wording_text
    from nnunetv2_cdpd.text.similarity import cosine_similarity, draw_similarity, mean_of_pairs, similarity_text

    if (args.dataset is None) == (args.file is None):
        raise UserError("cdpd embed takes a DATASET, or --file FILE to show one; see cdpd embed -h")
    if args.file is not None:
        embeddings = read_embeddings(args.file)
        numbered = [f"class {number}" for number in range(1, len(embeddings.class_embeddings) + 1)]
        names, told = numbered, f"in {args.file}"
    else:
        embedded = embed_dataset(args.dataset, encoder=args.encoder, weights=args.weights, output=args.output)
        embeddings, names = embedded.embeddings, list(embedded.class_names)
        told = f"ready in {embedded.path}" if embedded.path else "as the file has them, nothing was written"
    classes, tasks = embeddings.class_embeddings, embeddings.task_embeddings
    print(f"{len(classes)} classes, {len(tasks)} tasks, {classes.shape[1]} numbers each, by {embeddings.encoder}; {told}")
    if embeddings.class_prompts:
        print(f"\nwording\n{wording_text(names, embeddings.class_prompts, embeddings.task_prompts)}")
    similarity = cosine_similarity(classes)
    print(f"\ncosine similarity of the classes in percent, {number(100 * mean_of_pairs(similarity), 0)} in the mean")
    print(similarity_text(names, similarity))
    if args.picture is not None:
        draw_similarity(names, similarity, args.picture)
        print(f"\ndrawn in {args.picture}")
