"""TokenFiles: tokens of whole slices of preprocessed cases, computed once and kept beside them, for trainings to come too.

    nnUNet_preprocessed/DATASET/nnUNetPlans_3d_fullres_tokens/DIGEST/CASE.b2nd

The digest is of the encoder's weights and settings, so that another model or other settings have files of their own. A file
beside tells of which preprocessed file each was made, and it is made anew when that one has changed. Compressed, half precision,
in parts of which a patch reads those around it. A run that was stopped goes on with the cases that are missing.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from torch import Tensor, distributed

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import digest, file_state, read_json, remove_leftovers, written_beside
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.network.whole_slices import tokens_at, volume_tokens

_CHUNK = (4, 8, 8)  # tokens along slices and plane that are read together
_BESIDE = ".json"  # a file that tells of which files tokens were made, and what theirs was like when it was whole
_ENDINGS = (".b2nd", ".npz")  # of nnU-Net's preprocessed cases


class TokenFiles:
    """Files of the tokens of cases.

    Args:
        preprocessed: Folder of the preprocessed cases.
        encoder: Whose tokens they are, with its weights.
        patch_size: Of the network's patches, 2 or 3 axes.
    """

    def __init__(self, preprocessed: Path, encoder: SliceEncoder, patch_size: Sequence[int]) -> None:
        self.preprocessed = preprocessed
        self.folder = preprocessed.with_name(f"{preprocessed.name}_tokens") / encoder_digest(encoder)
        self.size = encoder.grid_size(patch_size)
        self.slice_axis = encoder.slice_axis if len(patch_size) == 3 else 0

    def path(self, case: str) -> Path:
        return self.folder / f"{case}.b2nd"

    def missing(self, cases: Iterable[str]) -> list[str]:
        """The cases that have no file, or one of other preprocessed files."""
        return [case for case in cases if not self._is_current(case)]

    def fill(self, encoder: SliceEncoder, cases: Iterable[str], dataset: nnUNetBaseDataset) -> None:
        """Compute the tokens of some cases of a dataset.

        Raises:
            UserError: A file cannot be written.
        """
        import blosc2

        for case in cases:
            made_of = self._made_of(case)
            tokens = volume_tokens(encoder, torch.from_numpy(np.ascontiguousarray(dataset.load_case(case)[0][:]))).cpu().numpy()
            chunk = (*tokens.shape[:2], *map(min, _CHUNK, tokens.shape[2:]))
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with written_beside(self.path(case)) as beside:
                    blosc2.asarray(tokens, urlpath=str(beside), mode="w", chunks=chunk, cparams={"clevel": 3})
                    beside.with_suffix(_BESIDE).write_text(json.dumps([file_state(beside), made_of]))
            except (OSError, RuntimeError) as error:  # blosc2 tells of a full disk by the latter
                why = getattr(error, "strerror", None) or "is the disk full?"
                raise UserError(f"{self.path(case)}: tokens cannot be written ({why}); make room and start again") from error

    def at(self, case: str, coordinates: Tensor) -> Tensor:
        """The tokens of a patch of a case, by its coordinates (3, X, Y(, Z)): (maps, E, S, h, w), in single precision."""
        import blosc2

        tokens = blosc2.open(urlpath=str(self.path(case)), mode="r", dparams={"nthreads": 1})
        return tokens_at(tokens, coordinates, self.size, self.slice_axis)

    def _is_current(self, case: str) -> bool:
        path = self.path(case)
        told = read_json(path.with_suffix(_BESIDE))
        return told is not None and told == json.loads(json.dumps([file_state(path), self._made_of(case)]))

    def _made_of(self, case: str) -> list[Any]:
        """Size and time of the preprocessed file of a case."""
        states = [file_state(self.preprocessed / f"{case}{ending}") for ending in _ENDINGS]
        return [list(state) for state in states if state is not None]


def filled_token_files(
    preprocessed: Path,
    encoder: SliceEncoder | None,
    patch_size: Sequence[int],
    datasets: Iterable[nnUNetBaseDataset],
    tell: Callable[[str], None],
) -> TokenFiles:
    """The files with the tokens of every case of some datasets; of several processes, each computes its share."""
    assert encoder is not None, "tokens of whole slices are a ViT's"
    files = TokenFiles(preprocessed, encoder, patch_size)
    remove_leftovers(files.folder)
    several = distributed.is_initialized()
    rank, processes = (distributed.get_rank(), distributed.get_world_size()) if several else (0, 1)
    for dataset in datasets:
        own = dataset.identifiers[rank::processes]
        if missing := files.missing(own):
            tell(f"Tokens of whole slices: of {len(missing)} of {len(own)} cases, into {files.folder}")
        files.fill(encoder, missing, dataset)
    if several:
        distributed.barrier()
    return files


def encoder_digest(encoder: SliceEncoder) -> str:
    """Of all that tokens depend on beside the image: weights, settings."""
    weights = sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        weights.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    constants = {name: getattr(encoder, name).tolist() for name in ("window_low", "window_width", "mean", "std")}
    names = ("model_name", "num_maps", "block_indices", "slice_axis", "slice_step", "token_voxels", "channels", "image_channels")
    return digest(weights.hexdigest(), constants, {name: getattr(encoder, name) for name in names})
