"""Positions: a ViT's position embeddings at the place of what it sees, where that is a patch and not a whole image.

A ViT adds its embeddings as if what it sees were a whole image. Here it gets those of other places, which need not be a grid: a
patch may have been turned and zoomed. What they differ by is added to the embedded image, before the ViT adds its own.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class Positions:
    """Has a timm ViT of dynamic image size add the position embeddings at `places`, while these are set.

    A hook of the ViT's patch embedding for good: one that came and went with every forward pass would break up compiled graphs.

    places: (N, 2, H, W) of each pixel of the images that it sees, along both axes, -1 and 1 at the borders of a whole image;
        those of the first pixel of each of the ViT's patches count. None: the ViT does as it does.
    """

    places: Tensor | None

    def __init__(self, vit: Any) -> None:
        self.vit = vit
        self.places = None
        vit.patch_embed.register_forward_hook(self)

    def __call__(self, part: nn.Module, inputs: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
        """(N, h, w, E) -> the same, with what the wanted embeddings have more than those that come next."""
        if self.places is None:
            return embedded
        height, width = self.vit.patch_embed.patch_size
        at = self.places[:, :, ::height, ::width]
        return embedded + embeddings_at(self.vit, at) - own_embeddings(self.vit, embedded.shape[1:3])


def embeddings_at(vit: Any, places: Tensor) -> Tensor:
    """(N, 2, h, w) -> (N, h, w, E), interpolated; beyond the borders they are those of the border."""
    order = places.float().flip(1).permute(0, 2, 3, 1)  # grid_sample's axes run the other way
    embeddings = own_embeddings(vit, vit.patch_embed.grid_size).permute(0, 3, 1, 2).float()  # (1, E, H, W)
    found = functional.grid_sample(embeddings, order.flatten(0, 1)[None], padding_mode="border", align_corners=False)
    return found[0].permute(1, 2, 0).unflatten(0, order.shape[:2])


def own_embeddings(vit: Any, size: Sequence[int]) -> Tensor:
    """(1, h, w, E): as the ViT resamples them for an image of h x w tokens."""
    from timm.layers import resample_abs_pos_embed  # see SliceEncoder

    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    embeddings: Tensor = resample_abs_pos_embed(vit.pos_embed, list(size), vit.patch_embed.grid_size, prefix)
    return embeddings[:, prefix:].unflatten(1, list(size))
