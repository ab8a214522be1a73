"""Text embeddings of the prompts: made by open_clip, or read from a file, and kept beside the preprocessed data.

One safetensors file holds the embeddings with the prompts and the encoder that they were made from, so a change of any of
them is noticed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.online import hub_reachable
from nnunetv2_cdpd.settings import TEXT_WEIGHTS


@dataclass(frozen=True)
class TextEmbeddings:
    """Embeddings (K, E) of class prompts and (T, E) of task prompts, float32, not normalised.

    encoder: What made them: open_clip "MODEL/PRETRAINED", or a file.
    """

    class_embeddings: Tensor
    task_embeddings: Tensor
    class_prompts: tuple[str, ...]
    task_prompts: tuple[str, ...]
    encoder: str

    def save(self, path: Path) -> None:
        """Write one safetensors file, beside and then renamed."""
        metadata = {name: json.dumps(getattr(self, name)) for name in ("class_prompts", "task_prompts", "encoder")}
        temporary = path.with_name(f".{path.name}.partial")
        tensors = {"class_embeddings": self.class_embeddings.contiguous(), "task_embeddings": self.task_embeddings.contiguous()}
        save_file(tensors, temporary, metadata)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "TextEmbeddings":
        """Read a file of `save`.

        Raises:
            UserError: Not such a file.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata: dict[str, Any] = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
                return cls(
                    class_embeddings=file.get_tensor("class_embeddings").float(),
                    task_embeddings=file.get_tensor("task_embeddings").float(),
                    class_prompts=tuple(metadata["class_prompts"]),
                    task_prompts=tuple(metadata["task_prompts"]),
                    encoder=metadata["encoder"],
                )
        except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
            raise UserError(f"{path}: holds no text embeddings of ours ({type(error).__name__}); delete it or give another") from error


def load_or_embed(
    cache_file: str | Path, *, class_prompts: Sequence[str], task_prompts: Sequence[str], encoder: str, choice: str | None
) -> TextEmbeddings:
    """The embeddings of these prompts, from the cache where it holds just these, else made and cached.

    Args:
        cache_file: Beside the preprocessed data.
        encoder: open_clip "MODEL/PRETRAINED".
        choice: The user's: a file of ready embeddings (ours, .safetensors), a checkpoint of the encoder, or None (open_clip's
            cache, then a download).

    Raises:
        UserError: No weights, or ready embeddings of other prompts.
    """
    class_prompts, task_prompts, cache_file = tuple(class_prompts), tuple(task_prompts), Path(cache_file)
    if choice and _holds_embeddings(Path(choice)):
        ready = TextEmbeddings.load(Path(choice))
        if (ready.class_prompts, ready.task_prompts) != (class_prompts, task_prompts):
            raise UserError(
                f"{choice}: these embeddings are of other prompts ({len(ready.class_prompts)} classes, "
                f"{len(ready.task_prompts)} tasks; wanted {len(class_prompts)} and {len(task_prompts)}); embed this dataset's"
            )
        return ready
    name = f"{encoder} from {choice}" if choice else encoder
    if cache_file.is_file():
        cached = TextEmbeddings.load(cache_file)
        if (cached.class_prompts, cached.task_prompts, cached.encoder) == (class_prompts, task_prompts, name):
            return cached
    embedded = embed_prompts([*class_prompts, *task_prompts], encoder, choice)
    made = TextEmbeddings(embedded[: len(class_prompts)], embedded[len(class_prompts) :], class_prompts, task_prompts, name)
    made.save(cache_file)
    return made


@torch.no_grad()
def embed_prompts(prompts: Sequence[str], encoder: str, weights: str | None = None) -> Tensor:
    """Embed sentences by an open_clip text encoder.

    Args:
        prompts: N sentences.
        encoder: "MODEL/PRETRAINED" as open_clip names them.
        weights: Checkpoint file in place of the named pretrained weights.

    Returns:
        (N, E) float32, not normalised.

    Raises:
        UserError: Unknown encoder, or no weights.
    """
    import open_clip

    model_name, _, tag = encoder.partition("/")
    if weights and not Path(weights).is_file():
        raise UserError(f"{weights}: no such file; {TEXT_WEIGHTS} takes a file of {encoder} weights or embeddings, or 'learned'")
    if model_name not in open_clip.list_models():
        raise UserError(f"text encoder {encoder!r} is unknown to open_clip; give MODEL/PRETRAINED, for example ViT-B-32/openai")
    try:
        if not weights and not hub_reachable() and locate_text_weights(encoder) is None:
            raise FileNotFoundError("the hub cannot be reached")
        # OpenAI's models were trained with another activation, which open_clip sets by the name of the weights, not for a file
        quick_gelu = (open_clip.get_pretrained_cfg(model_name, tag) or {}).get("quick_gelu", False)
        model = open_clip.create_model(model_name, pretrained=weights or tag, force_quick_gelu=quick_gelu, weights_only=True)
    except Exception as error:  # open_clip's, the hub's, the network's and torch's own
        reason = f"{weights}: not readable as weights of {model_name}" if weights else f"no weights of {encoder} in the cache, and no download"
        raise UserError(f"{reason} ({str(error).splitlines()[0]}); {ways_out(encoder)}") from error
    tokens = open_clip.get_tokenizer(model_name)(list(prompts))
    return model.eval().encode_text(tokens).float()


def locate_text_weights(encoder: str) -> Path | None:
    """The file of an encoder's weights in the local cache, None where it is not there; downloads nothing."""
    import open_clip
    from huggingface_hub import try_to_load_from_cache

    config = open_clip.get_pretrained_cfg(*encoder.partition("/")[::2])
    repository = (config or {}).get("hf_hub", "").rstrip("/")
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin") if repository else ():
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):
            return Path(path)
    return None


def ways_out(encoder: str) -> str:
    """What a user without text weights can do, as the end of a sentence."""
    return (
        f"set {TEXT_WEIGHTS} to a file of them or of ready embeddings, or run once where there is internet and copy the Hugging "
        f"Face cache, or set {TEXT_WEIGHTS}=learned to learn the embeddings with the network"
    )


def _holds_embeddings(path: Path) -> bool:
    """Whether a file is one of ours, not a checkpoint."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return "class_embeddings" in file.keys()
    except SafetensorError as error:
        raise UserError(f"{path}: not readable as safetensors ({error})") from error
