"""CDPDNet: nnU-Net's U-Net, on request with vision tokens in the encoder, text on skips and bottleneck, and a task prompt.

    x ─┬─ encoder stage ── ... ── stage ── cross-attention ── ... ── bottleneck
       └─ slice encoder (frozen ViT) ─ token adaptor ──┘ (on request)    │
    class prompts ── text features ── modulate every skip and the bottleneck
    task prompts ── task prompt map, one channel appended to the bottleneck
    decoder (nnU-Net's) -> logits, one sigmoid head per class
    extensions: classes that were added later, each from the skips by a decoder of its own

Source: Wu et al., CDPDNet, arXiv 2505.18958. What differs from the released network is told in each part's file.
"""

import pydoc
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from dynamic_network_architectures.initialization.weight_init import InitWeights_He, init_last_bn_before_add_to_0
from torch import Tensor, nn
from torch.func import functional_call

from nnunetv2_cdpd.network.extension import Extension
from nnunetv2_cdpd.network.fused_encoder import FusedEncoder
from nnunetv2_cdpd.network.task_prompt import TaskPrompt
from nnunetv2_cdpd.network.text_modulation import TEXT_CHANNELS, Affine, PromptEmbeddings, TextModulation
from nnunetv2_cdpd.pretrained.choices import LEARNED

MAX_FUSED_STAGES = 3


class TextTerms(NamedTuple):
    """What text says of the features.

    stages: Of each encoder stage; none without text.
    task: Of the task prompt, if there is one.
    extensions: Of each encoder stage, for each extension.
    """

    stages: tuple[Affine, ...]
    task: Affine | None
    extensions: tuple[tuple[Affine, ...], ...] = ()


class CDPDNet(FusedEncoder):
    """(B, C, X, Y(, Z)) nnU-Net-normalised patch, task (B,) -> logits (B, K, X, Y(, Z)).

    Built by nnU-Net from plans, so every argument is JSON-able or resolved by nnU-Net. Subclasses exchange parts by the
    class attributes and the `make_...` methods.

    Args:
        input_channels: C.
        num_classes: K, those of extensions included.
        unet_class_name: Dotted name of the U-Net whose encoder is used (PlainConvUNet or ResidualEncoderUNet).
        patch_size: Voxels per axis, array order.
        fused_stages: Encoder stages that receive vision tokens, ascending; the deepest one gets the ViT's last block. None
            of them: no vision encoder is built.
        vision: None (no vision tokens), or arguments of SliceEncoder (model_name, slice_axis, intensity_windows, ...) and the
            fields of VisionSettings.
        text: encoder (open_clip name, or "learned"), embed_dim, class_prompts (a sentence, or several, for each class that
            is of no extension), modulate (False: no text modulation).
        task: None (no task prompt), or prompts (T sentences) and universal (True: the last one is the universal task, which
            a forward pass without tasks uses; False: there is none, and every forward pass needs tasks).
        extensions: Arguments of Extension, from class_prompts to limits, in the order in which they were added.
        deep_supervision: Return a list of logits, finest first.
        unet_kwargs: nnU-Net's own arguments of the U-Net, as in its plans.

    Raises:
        ValueError: The number of class prompts is not K, a stage cannot be fused, or there are more intensity windows than
            input channels.
    """

    modulation_class: type[TextModulation] = TextModulation
    text_channels = TEXT_CHANNELS

    class_text: PromptEmbeddings | None
    task_text: PromptEmbeddings | None
    task_prompt: TaskPrompt | None
    decoder: UNetDecoder

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        unet_class_name: str,
        patch_size: Sequence[int],
        fused_stages: Sequence[int],
        vision: dict[str, Any] | None,
        text: dict[str, Any],
        task: dict[str, Any] | None,
        extensions: Sequence[dict[str, Any]] = (),
        deep_supervision: bool = False,
        **unet_kwargs: Any,
    ) -> None:
        prompts = [*text["class_prompts"], *(prompt for extension in extensions for prompt in extension["class_prompts"])]
        if len(prompts) != num_classes:
            raise ValueError(f"one class prompt per class: got {len(prompts)} prompts for {num_classes} classes")
        all_classes, num_classes = num_classes, len(text["class_prompts"])
        unet_class: Any = pydoc.locate(unet_class_name)
        unet = unet_class(
            input_channels=input_channels, num_classes=num_classes, deep_supervision=deep_supervision, **unet_kwargs
        )
        super().__init__(unet.encoder, input_channels, len(patch_size), fused_stages, vision)
        self.num_classes = all_classes
        features = self.encoder.output_channels

        learned = text["encoder"] == LEARNED
        self.class_text, self.modulations = None, nn.ModuleList()
        if text["modulate"]:
            self.class_text = PromptEmbeddings(num_classes, text["embed_dim"], learned, self.text_channels)
            self.modulations = self.make_modulations(num_classes, features)

        self.task_text, self.task_prompt = None, None
        if task is not None:
            num_tasks = len(task["prompts"])
            self.num_tasks = num_tasks + sum(len(extension["task_prompts"]) for extension in extensions)
            self.universal_task = self.num_tasks - 1 if task["universal"] else None
            self.last_own_task = num_tasks - 1
            self.task_text = PromptEmbeddings(num_tasks, text["embed_dim"], learned, self.text_channels)
            modulation = self.modulation_class(num_tasks, num_tasks, self.text_channels)
            self.task_prompt = TaskPrompt(features[-1], num_tasks, _conv_kwargs(self.encoder), modulation)

        self.decoder = UNetDecoder(
            self.decoder_view(extra_bottleneck_channels=0 if task is None else 1),
            num_classes,
            unet_kwargs["n_conv_per_stage_decoder"],
            deep_supervision,
        )
        self.extensions = nn.ModuleList(
            Extension(
                self.decoder_view(extra_bottleneck_channels=0),
                **extension,
                embed_dim=text["embed_dim"],
                modulate=text["modulate"],
                learned=learned,
                text_channels=self.text_channels,
                deep_supervision=deep_supervision,
            )
            for extension in extensions
        )

    def make_modulations(self, num_prompts: int, features: Sequence[int]) -> nn.ModuleList:
        """One text modulation per encoder stage."""
        return nn.ModuleList(self.modulation_class(num_prompts, channels, self.text_channels) for channels in features)

    def stage_modulations(self) -> list[TextModulation]:
        """The text modulation of each encoder stage, finest first."""
        return [cast(TextModulation, modulation) for modulation in self.modulations]

    def decoder_view(self, extra_bottleneck_channels: int) -> SimpleNamespace:
        """What UNetDecoder reads of an encoder, with the task prompt's channel on the bottleneck.

        No module, so that the decoder does not register the encoder a second time.
        """
        names = ("strides", "kernel_sizes", *_BLOCK_KWARGS)
        *features, bottleneck = self.encoder.output_channels
        return SimpleNamespace(
            **{name: getattr(self.encoder, name) for name in names},
            output_channels=[*features, bottleneck + extra_bottleneck_channels],
        )

    def forward(self, x: Tensor, task: Tensor | None = None, tokens: Tensor | None = None) -> Tensor | list[Tensor]:
        """Logits of a batch.

        Args:
            x: (B, C, X, Y(, Z)).
            task: Task index of each sample (B,), or of all of them (); None stands for the universal task.
            tokens: Of whole slices, where they are known already (`token_grids`).

        Raises:
            ValueError: No task and no universal task, or neither one task nor one per sample.
        """
        text = self.text_terms()
        stages, adapted = self.encode_and_adapt(x, self.token_grids(x, tokens=tokens))
        skips = self.modulate(stages, text)
        return self.guided(self.extend(self.own_logits(skips, task, text), skips, text), adapted)

    # ---- the steps, which prediction calls one by one --------------------------------------------------------------

    def text_terms(self) -> TextTerms:
        """What text says of the features: the same for every image."""
        stages: tuple[Affine, ...] = ()
        if self.class_text is not None:
            class_features = self.class_text()
            stages = tuple(modulation.affine(class_features) for modulation in self.stage_modulations())
        task = None
        if self.task_prompt is not None and self.task_text is not None:
            task = self.task_prompt.modulate.affine(self.task_text())
        return TextTerms(stages, task, tuple(extension.text_terms() for extension in self.all_extensions))

    def own_logits(self, skips: Sequence[Tensor], task: Tensor | None, text: TextTerms) -> Tensor | list[Tensor]:
        """Logits of the classes that are of no extension; task: as `forward` takes it."""
        return self.decode(skips, None if self.task_prompt is None else self.task_of_each_sample(task, skips[0]), text)

    def decode(
        self, skips: Sequence[Tensor], task: Tensor | None, text: TextTerms, head: tuple[Tensor, Tensor] | None = None
    ) -> Tensor | list[Tensor]:
        """Logits of each sample under its task (B,).

        Args:
            task: None for a network without tasks.
            head: Weight (n, F, 1, 1(, 1)) and bias (n,) of a last layer in place of the network's, without deep supervision.
        """
        if self.task_prompt is not None:
            skips = [*skips[:-1], self.task_prompt(skips[-1], task, text.task)]
        if head is None:
            return self.decoder(skips)
        name = f"seg_layers.{len(self.decoder.seg_layers) - 1}"
        return functional_call(self.decoder, {f"{name}.weight": head[0], f"{name}.bias": head[1]}, (skips,))

    def extend(self, logits: Tensor | list[Tensor], skips: Sequence[Tensor], text: TextTerms) -> Tensor | list[Tensor]:
        """The network's own logits with those of the extensions, each in its place; as they are without extensions."""
        outputs = [logits] if isinstance(logits, Tensor) else logits
        for extension, terms in zip(self.all_extensions, text.extensions):
            if extension.decoder.deep_supervision != self.decoder.deep_supervision:  # which nnU-Net sets
                extension.decoder.deep_supervision = self.decoder.deep_supervision
            further = extension(skips, terms)
            outputs = [extension.joined(*pair) for pair in zip(outputs, [further] if isinstance(further, Tensor) else further)]
        return outputs[0] if isinstance(logits, Tensor) else outputs

    @property
    def all_extensions(self) -> list[Extension]:
        """In the order in which they were added."""
        return [cast(Extension, extension) for extension in self.extensions]

    @property
    def own_classes(self) -> list[int]:
        """The classes that are of no extension, as numbers of the logits' channels."""
        places = list(range(self.decoder.num_classes))
        for extension in self.all_extensions:
            places = extension.moved(places)
        return places

    def modulate(self, skips: Sequence[Tensor], text: TextTerms) -> list[Tensor]:
        """Every stage scaled and shifted by what the class prompts say of it; as it is without text."""
        if self.class_text is None:
            return list(skips)
        return [modulation(skip, affine) for modulation, skip, affine in zip(self.stage_modulations(), skips, text.stages)]

    def task_of_each_sample(self, task: Tensor | None, x: Tensor) -> Tensor:
        if task is None:
            if self.universal_task is None:
                raise ValueError(f"this network has no universal task; give every sample its task, 0 ... {self.num_tasks - 1}")
            return torch.full(x.shape[:1], self.last_own_task, device=x.device)
        if task.shape not in ((), (1,), x.shape[:1]):
            raise ValueError(f"one task per sample, or one for all: got {tuple(task.shape)} for a batch of {x.shape[0]}")
        task = task.to(x.device).long()
        if self.extensions:  # the task of their sources is nothing to the network itself: it is asked for all that it knows
            task = task.clamp(max=self.last_own_task)
        return task.expand(x.shape[0])

    # ---- pretrained text -----------------------------------------------------------------------------------------

    @property
    def text_embeddings_set(self) -> bool:
        """Whether every text embedding has been given, learned or restored from a checkpoint."""
        return all(bool(part.embeddings_set) for part in (self.class_text, self.task_text) if part is not None)

    def set_text_embeddings(self, class_embeddings: Tensor, task_embeddings: Tensor) -> None:
        """Fill the embeddings of class prompts (K, E) and task prompts (T, E); what the network has no use for is left."""
        if self.class_text is not None:
            self.class_text.set(class_embeddings)
        if self.task_text is not None:
            self.task_text.set(task_embeddings)

    # ---- what nnU-Net asks of its networks -----------------------------------------------------------------------

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """He initialisation of the U-Net and the task prompt, as nnU-Net's.

        nnU-Net calls this for every submodule in turn; acting on the whole network only leaves adaptors and attention
        with their own initialisation, and the pretrained encoder alone.
        """
        if not isinstance(module, CDPDNet):
            return
        added = [part for extension in module.all_extensions for part in (extension.narrow, extension.decoder)]
        for part in (module.encoder, module.decoder, module.task_prompt, *added):
            if part is not None:
                part.apply(InitWeights_He(1e-2))
                part.apply(init_last_bn_before_add_to_0)


def default_fused_stages(strides: Sequence[Sequence[int]], most: int = MAX_FUSED_STAGES) -> list[int]:
    """The stages above the bottleneck, at most so many, without the full-resolution one (the paper: 2, 3, 4 of 0 ... 5)."""
    return list(range(len(strides) - 1))[1:][-most:]


def default_slice_step(strides: Sequence[Sequence[int]], fused_stages: Sequence[int], slice_axis: int) -> int:
    """Voxels per encoded slice: one slice for each voxel of the finest fused stage, since no stage could use more."""
    if len(strides[0]) == 2:
        return 1
    return int(np.prod([stride[slice_axis] for stride in strides[: fused_stages[0] + 1]])) if fused_stages else 1


_BLOCK_KWARGS = (
    "conv_op", "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs", "nonlin", "nonlin_kwargs"
)  # fmt: skip


def _conv_kwargs(encoder: PlainConvEncoder | ResidualEncoder) -> dict[str, Any]:
    """The encoder's kind of convolution block, for StackedConvBlocks."""
    return {**{name: getattr(encoder, name) for name in _BLOCK_KWARGS}, "kernel_size": encoder.kernel_sizes[-1]}
