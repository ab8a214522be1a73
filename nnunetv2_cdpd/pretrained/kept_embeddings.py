"""TextEmbeddings: embeddings of prompts, and the file that they are kept in.

One safetensors file holds the embeddings with the prompts and the encoder that they were made from, so a change of any of
them is noticed, and a checksum, so damage is.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nnunetv2_cdpd.errors import UserError, one_line
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.text.prompts import Wording, sentences

CACHE_FILE = "cdpd_text_embeddings.safetensors"  # in a dataset's folder of preprocessed data


@dataclass(frozen=True)
class TextEmbeddings:
    """Embeddings (K, E) of class prompts and (T, E) of task prompts, float32, not normalised.

    class_prompts, task_prompts: Empty where tables know none. A class has a sentence, or several that were averaged.
    encoder: What made them: an open_clip name, with its file where it was given one, or a file of ready embeddings.
    """

    class_embeddings: Tensor
    task_embeddings: Tensor
    class_prompts: tuple[Wording, ...]
    task_prompts: tuple[str, ...]
    encoder: str

    @property
    def checksum(self) -> str:
        """Of the values of both tables."""
        tables = (self.class_embeddings, self.task_embeddings)
        return hashlib.sha256(b"".join(table.contiguous().numpy().tobytes() for table in tables)).hexdigest()

    def are_of(self, class_prompts: Sequence[Wording], task_prompts: Sequence[str]) -> bool:
        """Whether they are of these prompts; without task prompts (a network without tasks) those of any tasks will do.

        Tables know no prompts; of them, the number of rows is compared.
        """
        if not self.class_prompts:
            return len(self.class_embeddings) == len(class_prompts) and len(task_prompts) in (0, len(self.task_embeddings))
        wanted, known = ([sentences(wording) for wording in prompts] for prompts in (class_prompts, self.class_prompts))
        return wanted == known and (not task_prompts or self.task_prompts == tuple(task_prompts))

    def save(self, path: Path) -> None:
        """Write one safetensors file; several processes of a training may do so at once."""
        metadata = {name: json.dumps(getattr(self, name)) for name in ("class_prompts", "task_prompts", "encoder", "checksum")}
        tensors = {"class_embeddings": self.class_embeddings.contiguous(), "task_embeddings": self.task_embeddings.contiguous()}
        with written_beside(path) as beside:
            save_file(tensors, beside, metadata)

    @classmethod
    def load(cls, path: Path) -> "TextEmbeddings":
        """Read a file of `save`.

        Raises:
            UserError: Not such a file, or a damaged one.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata: dict[str, Any] = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
                embeddings = cls(
                    class_embeddings=file.get_tensor("class_embeddings").float(),
                    task_embeddings=file.get_tensor("task_embeddings").float(),
                    class_prompts=tuple(metadata["class_prompts"]),
                    task_prompts=tuple(metadata["task_prompts"]),
                    encoder=metadata["encoder"],
                )
                checksum = metadata["checksum"]
        except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(f"{path}: holds no text embeddings of ours ({one_line(error)}); delete it or give another") from error
        if embeddings.checksum != checksum:
            raise UserError(f"{path}: these text embeddings are damaged (checksum differs); delete it or give another")
        if not all(torch.isfinite(table).all() for table in (embeddings.class_embeddings, embeddings.task_embeddings)):
            raise UserError(f"{path}: these text embeddings hold values that are no finite numbers; delete it and embed again")
        return embeddings
