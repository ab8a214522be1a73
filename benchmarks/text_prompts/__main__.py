"""Text prompts: whether a class that nobody trained can be had from its text. For docs/text.md.

    python benchmarks/text_prompts DATA WORK --models SPLIT --sentences MODEL
    python benchmarks/evidence write            # its tables, and all others, into benchmarks/README.md

One organ after the other is left out: its head is made from its text, by what is known of the other organs, on the features
of a network that has seen the organ, and of one that has not. Each result is a file in benchmarks/results/text_prompts, and
what has one is passed over; so is a neck whose models are not trained yet.

DATA: openkbp/, totalsegmentator/ and text/ (see `cases` and `texts`). SPLIT: the evidence's WORK/extension/split0, whose arms
`joint` and `without_ORGAN` are trained. MODEL: folder of a sentence encoder (see `texts`). One thread; half an hour of CPU time.
"""

import argparse
import os
import sys
from itertools import product
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
# Of the models' trainer, which is looked up by name and reads the rest; it trains nothing here.
os.environ |= {
    "nnUNet_extTrainer": str(Path(__file__).parents[1] / "trainers"), "BENCHMARK_ITERATIONS": "60", "BENCHMARK_FOREGROUND": "1",
}  # fmt: skip

from cases import abdomen
from networks import abdomen_seen, is_trained, left_out_together, neck_model, neck_seen
from prompt_tables import ORGANS_OF, SEEN, UNSEEN, path_of, write_scores
from scores import scores_of
from texts import clip_texts, sentence_texts, standardised_facts
from torch import Tensor
from voxels import Seen


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="text_prompts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--models", type=Path, required=True, metavar="SPLIT")
    parser.add_argument("--sentences", type=Path, required=True, metavar="MODEL")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for region, network in product(ORGANS_OF, (SEEN, UNSEEN)):
        for left_out in left_out_together(region, network):
            do_network(args, region, network, left_out)


def do_network(args: argparse.Namespace, region: str, network: str, organs: list[int]) -> None:
    """Score heads of organs: on the network of all, or on one that was trained without these."""
    wanted = [organ for organ in organs if not path_of(region, network, organ).exists()]
    if not wanted:
        return
    names = ORGANS_OF[region]
    trained_on = [organ for organ in range(len(names)) if network == SEEN or organ not in organs]
    seen = features(args, region, trained_on)
    if seen is None:
        print(f"{region}, {network}: {names[wanted[0]]} waits for a model that is not trained yet", flush=True)
        return
    texts = texts_of(args, region, seen.facts)
    for organ in wanted:
        print(region, network, names[organ], flush=True)
        write_scores(region, network, organ, scores_of(seen, trained_on, organ, texts))


def features(args: argparse.Namespace, region: str, trained_on: list[int]) -> Seen | None:
    """Of one network, kept in WORK; None where it is not trained yet."""
    without = [name for organ, name in enumerate(ORGANS_OF[region]) if organ not in trained_on]
    path = args.work / region / f"{'_'.join(['without', *without]) if without else 'all'}.pt"
    if path.exists():
        return Seen.read(path)
    if region == "abdomen":
        seen = abdomen_seen(abdomen(args.data), trained_on, clip_texts(args.data))
    else:
        model = neck_model(args.models, *without)
        if not is_trained(model):
            return None
        seen = neck_seen(args.models, model)
    seen.write(path)
    return seen


def texts_of(args: argparse.Namespace, region: str, facts: Tensor) -> dict[str, Tensor]:
    texts = {"clip": clip_texts(args.data)} if region == "abdomen" else {}
    return texts | {"sentences": sentence_texts(args.sentences, region), "facts": standardised_facts(facts)}


if __name__ == "__main__":
    main()
