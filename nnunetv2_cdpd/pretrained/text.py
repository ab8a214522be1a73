"""Text embeddings of the prompts: made by open_clip, or read from a file, and kept beside the preprocessed data."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.pretrained.choices import AUTO, TEXT_WEIGHTS
from nnunetv2_cdpd.pretrained.hub import hub_reachable
from nnunetv2_cdpd.pretrained.kept_embeddings import TextEmbeddings
from nnunetv2_cdpd.pretrained.text_tables import holds_our_embeddings, read_tables
from nnunetv2_cdpd.pretrained.torch_files import why_unreadable
from nnunetv2_cdpd.text.ensemble import ensembled
from nnunetv2_cdpd.text.prompts import Wording, sentences

_FROM_FILE = " from "
_HUB, _FOLDER = "hf-hub:", "local-dir:"  # how open_clip's names of models elsewhere begin
_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def load_or_embed(
    cache_file: str | Path,
    *,
    class_prompts: Sequence[Wording],
    task_prompts: Sequence[str],
    encoder: str,
    choice: str | None,
    or_learned: bool = True,
) -> TextEmbeddings:
    """The embeddings of these prompts, from the cache where it holds just these, else made and cached.

    Args:
        cache_file: Beside the preprocessed data.
        class_prompts: Of each class a sentence, or several, which are averaged (text/ensemble.py).
        task_prompts: None wanted: embeddings made with any are taken too.
        encoder: An open_clip name, see `embed_prompts`.
        choice: The user's: ready embeddings (ours, .safetensors; or tables, see text_tables.py), a checkpoint of the encoder, a
            folder that open_clip reads, or None or "auto" (open_clip's cache, then a download).
        or_learned: Whether the caller can do without text, which a message then offers.

    Raises:
        UserError: No weights, or ready embeddings of other prompts.
    """
    class_prompts, task_prompts, cache_file = tuple(class_prompts), tuple(task_prompts), Path(cache_file)
    path = Path(choice).expanduser() if choice and choice != AUTO else None
    ready = _ready(path) if path else None
    if ready and not ready.are_of(class_prompts, task_prompts):
        raise UserError(
            f"{path}: these embeddings are of other prompts ({len(ready.class_embeddings)} classes, "
            f"{len(ready.task_embeddings)} tasks; wanted {len(class_prompts)} and {len(task_prompts)}); embed this dataset's"
        )
    if ready:
        return ready
    name = f"{encoder}{_FROM_FILE}{path}{_fingerprint(path)}" if path else encoder
    if cache_file.is_file():
        cached = TextEmbeddings.load(cache_file)
        # without a choice, what was made from a file of this encoder's weights is as good as from its cached weights
        same_encoder = cached.encoder == name or (path is None and cached.encoder.startswith(f"{encoder}{_FROM_FILE}"))
        if same_encoder and cached.are_of(class_prompts, task_prompts):
            return cached
    of_classes = [sentence for wording in class_prompts for sentence in sentences(wording)]
    embedded = embed_prompts([*of_classes, *task_prompts], encoder, str(path) if path else None, or_learned)
    classes = ensembled(embedded[: len(of_classes)], class_prompts)
    made = TextEmbeddings(classes, embedded[len(of_classes) :], class_prompts, task_prompts, name)
    made.save(cache_file)
    return made


def read_embeddings(path: Path) -> TextEmbeddings:
    """A file of ready embeddings whatever they are of.

    Raises:
        UserError: No such file, or none of embeddings.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; give text embeddings (.safetensors of ours, or tables in a .pth)")
    ready = _ready(path)
    if ready is None:
        raise UserError(f"{path}: holds no text embeddings; give ours (.safetensors), or tables in a .pth")
    return ready


def _ready(path: Path) -> TextEmbeddings | None:
    """Ready embeddings; None where the path is none of ready embeddings."""
    if holds_our_embeddings(path):
        return TextEmbeddings.load(path)
    tables = read_tables(path)
    return TextEmbeddings(*tables, (), (), str(path)) if tables else None


def _fingerprint(path: Path) -> str:
    """Tells another file of the same name and size apart by its content; empty for what is no file."""
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return f" (sha256 {digest.hexdigest()[:16]})"


@torch.no_grad()
def embed_prompts(prompts: Sequence[str], encoder: str, weights: str | None = None, or_learned: bool = True) -> Tensor:
    """Embed sentences by an open_clip text encoder.

    Args:
        prompts: N sentences.
        encoder: "MODEL/PRETRAINED" as open_clip names them, or "hf-hub:OWNER/NAME" of a model on the hub.
        weights: Checkpoint file in place of the named pretrained weights, or a folder with open_clip_config.json and weights
            in place of the encoder.
        or_learned: See `load_or_embed`.

    Returns:
        (N, E) float32, not normalised.

    Raises:
        UserError: Unknown encoder, or no weights.
    """
    import open_clip

    model_name, tag = _model_and_tag(encoder)
    if weights and (Path(weights) / _CONFIG).is_file():
        model_name, tag, pretrained = f"{_FOLDER}{weights}", None, None
    elif weights and not Path(weights).is_file():
        raise UserError(f"{weights}: no such file; {TEXT_WEIGHTS} takes a file of {encoder} weights or embeddings")
    elif weights and tag is None:
        raise UserError(f"{weights}: for {encoder}, {TEXT_WEIGHTS} takes a folder with {_CONFIG} and weights, not a lone file")
    elif tag is not None and model_name not in open_clip.list_models():
        raise UserError(f"text encoder {encoder!r} is unknown to open_clip; give MODEL/PRETRAINED, for example ViT-B-32/openai")
    else:
        pretrained = weights or tag
    try:
        if not weights and not hub_reachable() and locate_text_weights(encoder) is None:
            raise UserError("the hub cannot be reached")
        # OpenAI's models were trained with another activation, which open_clip sets by the name of the weights, not for a file
        quick_gelu = (open_clip.get_pretrained_cfg(model_name, tag) or {}).get("quick_gelu", False) if tag else False
        model = open_clip.create_model(
            model_name,
            pretrained=pretrained,
            force_quick_gelu=quick_gelu,
            require_pretrained=True,  # open_clip goes on with random weights where a download fails
            weights_only=True,
        )
        tokens = open_clip.get_tokenizer(model_name)(list(prompts))
    except Exception as error:  # open_clip's, the hub's, the network's and torch's own
        what = (
            f"{weights}: not readable as weights of {model_name}, {why_unreadable(error)}"
            if weights
            else f"no weights of {encoder} in the cache, and no download ({reason(error)})"
        )
        raise UserError(f"{what}; {ways_to_text_weights(encoder, or_learned)}") from error
    return model.eval().encode_text(tokens).float()


def locate_text_weights(encoder: str) -> Path | None:
    """The file of an encoder's weights in the local cache, None where it is not there; downloads nothing."""
    import open_clip
    from huggingface_hub import try_to_load_from_cache

    model_name, tag = _model_and_tag(encoder)
    if tag is None:
        repository = model_name.removeprefix(_HUB)
    else:
        repository = (open_clip.get_pretrained_cfg(model_name, tag) or {}).get("hf_hub", "").rstrip("/")
    for name in _WEIGHTS if repository else ():
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):
            return Path(path)
    return None


def _model_and_tag(encoder: str) -> tuple[str, str | None]:
    """What open_clip calls a model and its weights; models on the hub have no other weights, so no tag."""
    if encoder.startswith(_HUB):
        return encoder, None
    model_name, _, tag = encoder.partition("/")
    return model_name, tag


def ways_to_text_weights(encoder: str, or_learned: bool = True) -> str:
    """What a user without text weights can do, as the end of a sentence."""
    learned = f", or set {TEXT_WEIGHTS}=learned to learn the embeddings with the network" if or_learned else ""
    return (
        f"set {TEXT_WEIGHTS} to a file of them or of ready embeddings, or run once where there is internet and copy the Hugging "
        f"Face cache{learned}"
    )
