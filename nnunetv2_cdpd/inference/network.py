"""PredictionNetwork: CDPDNet as prediction runs it, without what a frozen network need not compute again.

text terms     once per set of weights (they are the same for every image)
slice tokens   once per slice: windows that overlap along the slice axis and share their place in the plane hold the same
               slices, and slices of air are all alike; a slice with the same pixels gets the tokens of the first one, also
               under the weights of the next fold, whose frozen encoder is the same
heads          of the wanted classes only; after the mean over windows, where that has fewer channels than classes
tasks          the universal one, a source's, or for a network without a universal task those that annotate a class
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from nnunetv2_cdpd.inference.blocks import Beside, Readout
from nnunetv2_cdpd.network.cdpdnet import CDPDNet, TextTerms

TOKEN_CACHE_BYTES = 256 * 2**20  # the windows of a place, so that the next fold finds them


@dataclass(frozen=True)
class TaskClasses:
    """Some classes, and the task under which their logits are computed; task None: the network's own choice."""

    task: int | None
    classes: tuple[int, ...]


class PredictionNetwork(nn.Module):
    """(B, C, X, Y(, Z)) -> logits (B, n, X, Y(, Z)) of the classes chosen by `choose`, all of them at first.

    While `features_only` is set, the result are the features that its heads read, (B, features per choice, X, Y(, Z)), and after
    them the logits of the chosen classes that are of an extension.

    Calls the network's steps one by one; `compile` puts compiled ones in their place.

    Args:
        network: In evaluation mode by the time it is run.
    """

    def __init__(self, network: CDPDNet) -> None:
        super().__init__()
        self.network = network
        self._loaded: Mapping[str, Any] | None = None
        self._text: TextTerms | None = None
        self.slice_tokens = None if network.slice_encoder is None else SliceTokens(network.slice_encoder.token_maps)
        self.encode: Callable[..., list[Tensor]] = network.encode
        self.decode: Callable[..., Any] = network.decode
        self.extend: Callable[..., Any] = network.extend
        self.own_classes = {k: row for row, k in enumerate(network.own_classes)}
        self.features_only = False
        self.choose([TaskClasses(None, tuple(range(network.num_classes)))])

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile what runs for every window: the vision encoder, the encoder with its fusions, and the decoder.

        What decides whether something needs to run at all (tokens of slices that are known, text terms) stays Python between
        them: traced, it would be compiled again whenever what is remembered changes.
        """
        self.encode = torch.compile(self.network.encode, *args, **kwargs)
        self.decode = torch.compile(self.network.decode, *args, **kwargs)
        self.extend = torch.compile(self.network.extend, *args, **kwargs)
        if self.slice_tokens is not None:
            # As many slices as are new: one graph for any number.
            self.slice_tokens.encode = torch.compile(self.slice_tokens.encode, *args, dynamic=True, **kwargs)

    def choose(self, choices: Sequence[TaskClasses]) -> None:
        """Choose the classes of the output, in ascending order, and the task of each; their mean where there are several."""
        self.classes = tuple(sorted({k for choice in choices for k in choice.classes}))
        self.further = tuple(
            k for k in self.classes if k not in self.own_classes
        )  # of extensions, whose networks have one choice
        self.choices = tuple(choices)

    # ---- the last layer --------------------------------------------------------------------------------------------

    @property
    def num_features(self) -> int:
        """Channels that the heads read."""
        return self.network.decoder.seg_layers[-1].in_channels

    def readout(self, weights: Sequence[Mapping[str, Any]]) -> Readout | None:
        """The last layer, if without it all networks together give fewer channels than there are classes; else None.

        Args:
            weights: Of every network.

        Returns:
            Of the features of all networks, one after the other, each of them the mean over windows and networks.
        """
        own = [k for k in self.classes if k in self.own_classes]
        if self.num_features * len(self.choices) * len(weights) >= len(own):
            return None
        row = {k: i for i, k in enumerate(own)}
        chosen = [sorted(k for k in choice.classes if k in row) for choice in self.choices]
        count = torch.zeros(len(row), 1)
        columns = []
        for classes in chosen:
            count[[row[k] for k in classes]] += 1
        for state_dict in weights:
            weight, bias = (state_dict[name].float() for name in self._head_names)
            for classes in chosen:
                column = weight.new_zeros(len(row), self.num_features)
                column[[row[k] for k in classes]] = weight[[self.own_classes[k] for k in classes]].flatten(1)
                columns.append(column / count.to(weight))
        bias = torch.stack([state_dict[self._head_names[1]].float() for state_dict in weights]).mean(0)
        # The mean over networks is already in the mean over windows: every network's weights count there.
        return Readout(torch.cat(columns, 1), bias[[self.own_classes[k] for k in own]], self._beside(len(weights)))

    def num_values(self, readout: Readout | None) -> int:
        """Channels of the result."""
        if readout is None:
            return len(self.classes)
        return self.num_features * len(self.choices) + len(self.further)

    def _beside(self, num_networks: int) -> Beside | None:
        if not self.further:
            return None
        features = self.num_features * len(self.choices)
        starts = range(0, num_networks * (features + len(self.further)), features + len(self.further))
        return Beside(
            tuple(start + channel for start in starts for channel in range(features)),
            tuple(tuple(start + features + channel for channel in range(len(self.further))) for start in starts),
            tuple(self.classes.index(k) for k in self.further),
        )

    @property
    def _head_names(self) -> tuple[str, str]:
        last = len(self.network.decoder.seg_layers) - 1
        return f"decoder.seg_layers.{last}.weight", f"decoder.seg_layers.{last}.bias"

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The network's; nnU-Net's predictor loads before every volume, which costs nothing if it is the same again."""
        if state_dict is self._loaded:
            return None
        before, self._loaded = self._loaded, None  # for the case that loading fails half-way
        self._text = None
        if before is None or before.keys() != state_dict.keys():
            self.forget()
            result = self.network.load_state_dict(state_dict, *args, **kwargs)
        else:  # what folds have in common is there already, and most of it is the frozen encoder
            others = {key: value for key, value in state_dict.items() if value is not before[key]}
            if not _same_encoder(others, before):
                self.forget()
            result = self.network.load_state_dict(others, strict=False)
        self._loaded = state_dict
        return result

    def _apply(self, *args: Any, **kwargs: Any) -> "PredictionNetwork":
        before = next(self.parameters()).data_ptr()
        result = super()._apply(*args, **kwargs)
        if next(self.parameters()).data_ptr() != before:  # moved to another device
            self.forget()
        return result

    def forget(self) -> None:
        """Drop what is remembered of weights and slices."""
        self._text = None
        if self.slice_tokens is not None:
            self.slice_tokens.forget()

    def fix_text(self, text: TextTerms) -> None:
        """Take what text says of the features from here on, in place of computing it from the weights."""
        self._text = text

    def forward(self, x: Tensor, token_grids: Sequence[Tensor] | None = None) -> Tensor:
        """token_grids: Of the slices, where they are known already."""
        network = self.network
        if self._text is None:
            self._text = network.text_terms()
        tokens = network.token_grids(x, self.slice_tokens) if token_grids is None else token_grids
        skips = network.modulate(self.encode(x, tokens), self._text)
        if self.features_only:
            features = [self._decoded(skips, choice, self._identity(x), self._text) for choice in self.choices]
            return torch.cat([*features, *self._beside_features(features[0], skips, self._text)], 1)
        if len(self.choices) == 1:
            return self._logits(skips, self.choices[0], self._text)
        total, count = x.new_zeros(()), torch.zeros(len(self.classes), device=x.device)
        for choice in self.choices:
            at = torch.tensor([self.classes.index(k) for k in sorted(choice.classes)], device=x.device)
            logits = self._logits(skips, choice, self._text)
            total = total + logits.new_zeros(logits.shape[0], len(self.classes), *logits.shape[2:]).index_copy(1, at, logits)
            count[at] += 1
        return total / count.view(1, -1, *[1] * (x.ndim - 2))

    def _logits(self, skips: Sequence[Tensor], choice: TaskClasses, text: TextTerms) -> Tensor:
        head = self.network.decoder.seg_layers[-1]
        if self.further:  # which depend on what the network says of all its own classes
            logits = self.extend(self._decoded(skips, choice, (head.weight, head.bias), text), skips, text)
            return logits.index_select(1, torch.tensor(sorted(choice.classes), device=logits.device))
        classes = torch.tensor([self.own_classes[k] for k in sorted(choice.classes)], device=skips[-1].device)
        return self._decoded(skips, choice, (head.weight[classes], head.bias[classes]), text)

    def _beside_features(self, features: Tensor, skips: Sequence[Tensor], text: TextTerms) -> list[Tensor]:
        """Logits of the chosen classes that are of an extension, if any are."""
        if not self.further:
            return []
        logits = self.extend(self.network.decoder.seg_layers[-1](features), skips, text)
        return [logits.index_select(1, torch.tensor(self.further, device=logits.device))]

    def _decoded(self, skips: Sequence[Tensor], choice: TaskClasses, head: tuple[Tensor, Tensor], text: TextTerms) -> Tensor:
        task = None
        if self.network.task_prompt is not None:
            task = self.network.task_of_each_sample(None if choice.task is None else torch.tensor(choice.task), skips[-1])
        return self.decode(skips, task, text, head)

    def _identity(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A head that gives the features that it reads: exactly, as each is one times itself and nothing else."""
        n, like = self.num_features, self.network.decoder.seg_layers[-1].weight
        eye = torch.eye(n, dtype=like.dtype, device=like.device)
        return eye.view(n, n, *[1] * (x.ndim - 2)), like.new_zeros(n)


def on_device(weights: Sequence[Mapping[str, Tensor]], device: torch.device) -> list[dict[str, Tensor]]:
    """Weights of networks, what they have in common still held once."""
    moved: dict[int, Tensor] = {}
    for tensor in (tensor for state_dict in weights for tensor in state_dict.values()):
        if id(tensor) not in moved:
            moved[id(tensor)] = tensor.to(device)
    return [{key: moved[id(tensor)] for key, tensor in state_dict.items()} for state_dict in weights]


def _same_encoder(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items() if key.startswith("slice_encoder."))


class SliceTokens:
    """Token maps of slices, each distinct slice encoded once while it is remembered.

    Args:
        encode: Images (N, C, H, W) -> token maps, (N, E, h, w) each; what the tokens of an image are must not depend on the
            other images.
        max_bytes: Tokens beyond are forgotten, longest unused first.
    """

    def __init__(self, encode: Callable[[Tensor], list[Tensor]], max_bytes: int = TOKEN_CACHE_BYTES) -> None:
        self.encode = encode
        self.max_bytes = max_bytes
        self.asked = self.encoded = 0
        self.forget()

    def forget(self) -> None:
        self._known: OrderedDict[tuple, Tensor] = OrderedDict()  # fingerprint -> (maps, E, h, w)
        self._bytes = 0

    def __call__(self, images: Tensor) -> list[Tensor]:
        keys = _fingerprints(images)
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        new = sorted(i for key, i in first.items() if key not in self._known)
        tokens = {key: self._known[key] for key in first if key in self._known}
        if new:
            maps = torch.stack(self.encode(images if len(new) == len(images) else images[new]))  # (maps, new, E, h, w)
            tokens |= {keys[i]: maps[:, j].clone() for j, i in enumerate(new)}
        self.asked += len(images)
        self.encoded += len(new)
        self._remember(tokens)
        return list(torch.stack([tokens[key] for key in keys], 1).unbind())

    def _remember(self, tokens: Mapping[tuple, Tensor]) -> None:
        for key, token in tokens.items():
            self._bytes += 0 if key in self._known else token.nbytes
            self._known[key] = token
            self._known.move_to_end(key)
        while self._bytes > self.max_bytes:
            self._bytes -= self._known.popitem(last=False)[1].nbytes


def _fingerprints(images: Tensor) -> list[tuple]:
    """128 bits of each image's pixels and its shape: one read-out from the device for a whole batch."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[images.element_size()]
    pixels = images.contiguous().view(integers).flatten(1)
    sums = [(pixels * multipliers).sum(1) for multipliers in _multipliers(pixels.shape[1], images.device)]  # modulo 2 ^ 64
    return [(tuple(images.shape[1:]), *pair) for pair in torch.stack(sums, 1).tolist()]


@lru_cache(maxsize=4)
def _multipliers(length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(length)
    bounds = torch.iinfo(torch.int64)
    one, other = (torch.randint(bounds.min, bounds.max, (length,), generator=generator).to(device) for _ in range(2))
    return one, other
