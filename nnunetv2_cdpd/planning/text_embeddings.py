"""The text embeddings of a dataset: its prompts, and the file beside its preprocessed data that training reads."""

from dataclasses import dataclass
from pathlib import Path

from nnunetv2.paths import nnUNet_preprocessed

from nnunetv2_cdpd.annotation import read_annotation, with_sigmoid_heads
from nnunetv2_cdpd.datasets.dataset_json import dataset_json_of
from nnunetv2_cdpd.datasets.output import check_may_write, folder_of_nnunet
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import remove_leftovers
from nnunetv2_cdpd.planning.architecture import NetworkSettings, dataset_prompts
from nnunetv2_cdpd.pretrained.choices import LEARNED, TEXT_WEIGHTS, weights_choice
from nnunetv2_cdpd.pretrained.kept_embeddings import CACHE_FILE, TextEmbeddings
from nnunetv2_cdpd.pretrained.text import load_or_embed


@dataclass(frozen=True)
class DatasetEmbeddings:
    """path: The file that holds them now; None where ready embeddings were given, which are read from where they are."""

    embeddings: TextEmbeddings
    class_names: tuple[str, ...]
    path: Path | None


def embed_dataset(
    dataset: str, *, encoder: str | None = None, weights: str | None = None, output: Path | None = None
) -> DatasetEmbeddings:
    """Make the embeddings that training on a dataset asks for, unless they are there.

    Args:
        dataset: Id, name or folder of a raw dataset, or a dataset.json.
        encoder: open_clip's; None: the trainer's.
        weights: See `load_or_embed`; None: the user's CDPD_TEXT_WEIGHTS.
        output: File in place of the one beside the preprocessed data.

    Raises:
        UserError: No such dataset, nnUNet_preprocessed not set, no weights, embeddings are to be learned, or `output` is a file
            of something else.
        OSError: The file cannot be written.
    """
    choice = weights or weights_choice(TEXT_WEIGHTS)
    if choice == LEARNED:
        raise UserError(f"{TEXT_WEIGHTS} is {LEARNED!r}: then the network learns its embeddings, and there are none to make")
    dataset_json = dataset_json_of(dataset)
    annotation = read_annotation(with_sigmoid_heads(dataset_json.content, dataset_json.path), dataset_json.path)
    class_prompts, task_prompts = dataset_prompts(annotation)
    if output is not None:
        check_may_write([output], made_here=_is_ours(output), way_out="give another file")
    cache = output or _beside_preprocessed(dataset_json.path.parent.name)
    cache.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(cache.parent)
    embeddings = load_or_embed(
        cache,
        class_prompts=class_prompts,
        task_prompts=task_prompts,
        encoder=encoder or NetworkSettings().text_encoder,
        choice=choice,
        or_learned=False,
    )
    written = cache.is_file() and TextEmbeddings.load(cache).checksum == embeddings.checksum
    return DatasetEmbeddings(embeddings, annotation.classes, cache if written else None)


def _is_ours(path: Path) -> bool:
    try:
        TextEmbeddings.load(path)
    except UserError:
        return False
    return True


def _beside_preprocessed(dataset_name: str) -> Path:
    folder = folder_of_nnunet(nnUNet_preprocessed)
    if folder is None:
        raise UserError(
            "nnUNet_preprocessed is not set, so there is no place for the embeddings; set it, or give argument output"
        )
    return folder / dataset_name / CACHE_FILE
