"""Vision encoders by name: ViTs whose training images differ from those that timm knows, with what each has to be shown.

One table of facts. A ViT of timm needs no row: its name and timm's statistics say all. Each row was taken from what the encoder's
makers published (`source`), the window in HU too; where they name none, the encoder was trained on no CT in HU.

Source: Li et al., MedDINOv3, arXiv 2509.02379; Perez-Garcia et al., RAD-DINO, arXiv 2401.10815; Zhang et al., BiomedCLIP,
arXiv 2303.00915.
"""

from dataclasses import dataclass

# Short names of ViTs that timm knows
DINOV2 = {"dinov2": "vit_base_patch14_dinov2.lvd142m", "dinov2-small": "vit_small_patch14_dinov2.lvd142m"}
ORIGINAL, TRANSFORMERS, OPEN_CLIP = "original release", "Hugging Face transformers", "open_clip"


@dataclass(frozen=True)
class VisionEncoder:
    """An encoder and the images that it knows.

    name: By which users ask for it.
    model_name: timm's, of its architecture.
    mean, std: Of its training images, (3,) each: of HU where `in_hu`, else of images in [0, 1].
    window_hu: (low, high) in HU to which its training images were clipped; None: trained on no CT in HU.
    """

    name: str
    model_name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    in_hu: bool = False
    window_hu: tuple[float, float] | None = None

    @property
    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and std (3,) each of its training images in [0, 1], those of HU with the window as 0 and 1."""
        if not self.in_hu or self.window_hu is None:
            return list(self.mean), list(self.std)
        low, high = self.window_hu
        return [(value - low) / (high - low) for value in self.mean], [value / (high - low) for value in self.std]


@dataclass(frozen=True)
class ReleasedEncoder(VisionEncoder):
    """A row of the table.

    patch_size: Pixels of a token along each axis.
    prefix_tokens: Class and register tokens before the patch tokens.
    repository: On the Hugging Face hub.
    files: Its files of weights there, any of which does, each with its layout.
    license: SPDX's name.
    source: Where the statistics stand.
    """

    patch_size: int = 16
    prefix_tokens: int = 1
    repository: str = ""
    files: tuple[tuple[str, str], ...] = ()
    license: str = ""
    source: str = ""


_ROWS = (
    ReleasedEncoder(
        "meddinov3",
        "vit_base_patch16_dinov3",  # without biases of query, key and value, as the release
        mean=(65.1084213256836,) * 3,
        std=(178.01663208007812,) * 3,
        in_hu=True,
        window_hu=(-1000.0, 1000.0),
        patch_size=16,
        prefix_tokens=5,
        repository="ricklisz123/MedDINOv3-ViTB-16-CT-3M",
        files=(("model.pth", ORIGINAL),),
        license="Apache-2.0",
        source="https://github.com/ricklisz/MedDINOv3, inference/demo.ipynb",
    ),
    ReleasedEncoder(
        "rad-dino",
        DINOV2["dinov2"],
        mean=(0.5307,) * 3,
        std=(0.2583,) * 3,
        patch_size=14,
        prefix_tokens=1,
        repository="microsoft/rad-dino",
        files=(("model.safetensors", TRANSFORMERS), ("backbone_compatible.safetensors", ORIGINAL)),
        license="MIT",
        source="https://huggingface.co/microsoft/rad-dino, preprocessor_config.json",
    ),
    ReleasedEncoder(
        "biomedclip",
        "vit_base_patch16_224",
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        patch_size=16,
        prefix_tokens=1,
        repository="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        files=(("open_clip_pytorch_model.bin", OPEN_CLIP),),
        license="MIT",
        source="https://huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224, open_clip_config.json",
    ),
)
ENCODERS = {row.name: row for row in _ROWS}
