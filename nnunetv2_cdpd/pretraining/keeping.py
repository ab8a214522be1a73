"""What a run leaves: the checkpoint that it goes on from, and in the end the file of weights that CDPD_VISION_WEIGHTS takes."""

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.licenses import read_terms
from nnunetv2_cdpd.pretrained.torch_files import read_torch
from nnunetv2_cdpd.pretraining.settings import check_same
from nnunetv2_cdpd.training.checkpoints import save_whole
from nnunetv2_cdpd.training.encoder_facts import HEADER_KEY, HEADER_VERSION, encoder_facts_of, told_facts
from nnunetv2_cdpd.training.provenance import AT_RANDOM, FROM_FILE, PRETRAINED, file_checksum

_RECIPE = "DINOv2: DINO, iBOT and KoLeo losses, arXiv 2304.07193"
SUFFIX = ".safetensors"


class Places:
    """Where a run keeps what.

    Args:
        output: File of weights to be.
        slices: Folder of the slices; None: beside, and only for the length of the run.

    Raises:
        UserError: The output is named as something else, or its folder is not there.
    """

    def __init__(self, output: Path, slices: Path | None) -> None:
        if output.suffix != SUFFIX:
            raise UserError(f"argument output {output}: a file of weights; give it a name that ends in {SUFFIX}")
        if not output.absolute().parent.is_dir():
            raise UserError(f"argument output {output}: no folder {output.absolute().parent}; make it first")
        self.output = output
        self.checkpoint = output.with_suffix(".checkpoint.pth")
        self.log = output.with_suffix(".csv")
        self.slices = slices or output.with_suffix(".slices")
        self.keep_slices = slices is not None

    def check_free(self) -> None:
        """Raise UserError if there is anything that a new run would replace."""
        for path, what in ((self.output, "is there already"), (self.checkpoint, "is of a run that has not come to its end")):
            if path.exists():
                raise UserError(
                    f"{path}: {what}; go on with it by argument resume, remove it, or give another argument output; nothing was "
                    "changed"
                )

    def is_finished(self, run: Mapping[str, Any]) -> bool:
        """Whether the output is there, made by this run.

        Args:
            run: What decides what comes out.

        Raises:
            UserError: It is of another run, or of none.
        """
        if not self.output.exists():
            return False
        facts = encoder_facts_of(self.output)
        if facts is None:
            raise UserError(f"{self.output}: was not made by a pretraining of this release; give another argument output")
        check_same(facts["settings"], run, str(self.output))
        return True

    def read_checkpoint(self, run: Mapping[str, Any]) -> dict[str, Any] | None:
        """The checkpoint to go on from; None: there is none yet.

        Raises:
            UserError: It cannot be read, or is of another run.
        """
        if not self.checkpoint.exists():
            return None
        read = read_torch(self.checkpoint, "remove it and begin again", "-")
        if not isinstance(read, dict) or {"run", "done", "steps", "log"} - read.keys():
            raise UserError(f"{self.checkpoint}: no checkpoint of a pretraining; remove it and begin again")
        check_same(read["run"], run, str(self.checkpoint))
        return read

    def save_checkpoint(self, run: Mapping[str, Any], done: int, steps: Mapping[str, Any], log: Mapping[str, Any]) -> str | None:
        """Save all that a run goes on from; a kill or a full disk leaves the one before.

        Returns:
            Why the disk did not take it; None: it is saved.
        """
        content = {"run": dict(run), "done": done, "steps": dict(steps), "log": dict(log)}
        return save_whole(lambda beside: torch.save(content, beside), self.checkpoint)

    def save_weights(self, vit: nn.Module, facts: Mapping[str, Any]) -> None:
        """The ViT's weights under timm's names, with how they were made in the header."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in vit.state_dict().items()}
        with written_beside(self.output) as beside:
            save_file(tensors, beside, {"format": "pt", HEADER_KEY: json.dumps(facts)})


def facts_of_run(
    run: Mapping[str, Any], encoder: str, iterations: int, data: Mapping[str, tuple[int, int]], began_with: Mapping[str, Any]
) -> dict[str, Any]:
    """What the header of a file of weights says.

    Args:
        data: Dataset -> its images and slices.
    """
    packages = ("torch", "timm", "lightly")
    return {
        "version": HEADER_VERSION,
        "recipe": _RECIPE,
        "encoder": encoder,
        "data": [{"name": name, "images": images, "slices": slices} for name, (images, slices) in data.items()],
        "iterations": iterations,
        "began_with": dict(began_with),
        "settings": dict(run),
        "versions": {
            "python": platform.python_version(),
            "nnunetv2-cdpd": __version__,
            **{name: metadata.version(name) for name in packages},
        },
    }


def start_of(encoder: str, choice: str | None, origin: str, is_random: bool) -> dict[str, Any]:
    """What a run begins with: kind as in a provenance, checksum, license of released weights, how they were pretrained before.

    Args:
        encoder: timm's name.
        choice: The user's file; None: the weights as they are released.
        origin: Where they came from, as `load_vision_weights` told.
    """
    if is_random:
        return {"kind": AT_RANDOM, "sha256": None, "license": None, "pretrained": None}
    import timm

    before = encoder_facts_of(Path(origin))
    said = getattr(timm.get_pretrained_cfg(encoder), "license", None)
    of_release = read_terms(said).spdx or said
    of_file = None if before is None else before["began_with"]["license"]
    return {
        "kind": PRETRAINED if choice is None else FROM_FILE,
        "sha256": file_checksum(Path(origin)),
        "license": of_release if choice is None else of_file,
        "pretrained": None if before is None else told_facts(before),
    }
