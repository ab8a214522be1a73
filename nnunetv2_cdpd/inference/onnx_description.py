"""What an exported model says of itself (`portable.description`), from a model folder; what the runner lacks is refused."""

from pathlib import Path
from typing import Any

from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.datasets.dataset_json import channel_names
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.models import weights_digest
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.resampling import resampling_rule
from nnunetv2_cdpd.inference.selection import Selection
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE
from nnunetv2_cdpd.portable.description import CT, CT_NUMBERS, SCHEMES, Description, Normalization
from nnunetv2_cdpd.portable.rivalry import Rivalry
from nnunetv2_cdpd.volumes.axes import ResamplingRule
from nnunetv2_cdpd.volumes.splines import MAX_ORDER

_REORIENTS = {SimpleITKIO: False, NibabelIO: False, SimpleITKIOWithReorient: True, NibabelIOWithReorient: True}


def onnx_description_of(predictor: Predictor, folder: Path, folds: list[str]) -> Description:
    """Of a predictor, with what is selected.

    Args:
        folder: That it was loaded from, for messages.
        folds: Names of those whose logits are averaged.

    Raises:
        UserError: The model needs what the runner does not do.
    """
    plans, configuration, selection = predictor.plans_manager, predictor.configuration_manager, predictor.selection
    where = f"{folder / PLANS_FILE}"
    if configuration.previous_stage_name is not None:
        raise UserError(
            f"{where}: a cascade's higher stage, which reads the label maps of {configuration.previous_stage_name}; the runner "
            "has images only. Export another configuration"
        )
    reader = plans.image_reader_writer_class
    if reader not in _REORIENTS:
        raise UserError(f"{where}: images are read by {reader.__name__}, which is not in the runner; use cdpd predict")
    if configuration.preprocessor_class is not DefaultPreprocessor:
        name = configuration.preprocessor_class.__name__
        raise UserError(f"{where}: images are preprocessed by {name}, which is not in the runner; use cdpd predict")
    image_rule = _rule(configuration.resampling_fn_data, "resampling_fn_data", where)
    logits_rule = _rule(configuration.resampling_fn_probabilities, "resampling_fn_probabilities", where)
    if logits_rule.linear_kinds((1, 1, 1), (1, 1, 1)) is None:
        raise UserError(f"{where}: `resampling_fn_probabilities` is not linear, which the runner's is; use cdpd predict")
    channels = channel_names(predictor.dataset_json)
    properties = plans.foreground_intensity_properties_per_channel
    normalizations = []
    for index, (scheme, use_mask) in enumerate(zip(configuration.normalization_schemes, configuration.use_mask_for_norm)):
        if scheme not in SCHEMES:
            raise UserError(f"{where}: images are normalised by {scheme}, which is not in the runner; use cdpd predict")
        numbers = {name: float(properties[str(index)][name]) for name in CT_NUMBERS} if scheme == CT else {}
        normalizations.append(Normalization(scheme, bool(use_mask), numbers))
    task = selection.choices[0].task if len(selection.choices) == 1 else None
    return Description(
        made_by=f"nnunetv2-cdpd {__version__}",
        about={
            "dataset": plans.dataset_name,
            "trainer": predictor.trainer_name,
            "plans": plans.plans_name,
            "folds": folds,
            "task": None if task is None else predictor.annotation.sources[task].name,
            "weights": weights_digest(predictor.list_of_parameters),
        },
        channels=tuple(channels),
        reorient=_REORIENTS[reader],
        transpose=tuple(plans.transpose_forward),
        spacing=tuple(map(float, configuration.spacing)),
        normalizations=tuple(normalizations),
        image_rule=image_rule,
        patch_size=tuple(map(int, configuration.patch_size)),
        mirror_axes=tuple(sorted(predictor.allowed_mirroring_axes or ())),
        logits_rule=logits_rule,
        classes={predictor.annotation.classes[k]: int(predictor.annotation.values[k]) for k in selection.wanted},
        outputs=tuple(predictor.annotation.classes[k] for k in selection.needed),
        stored=_stored(selection),
        rivalry=_rivalry(selection),
    )


def _rule(function: Any, key: str, where: str) -> ResamplingRule:
    rule = resampling_rule(function)
    if rule is None or max(rule.order, rule.order_z) > MAX_ORDER:
        raise UserError(f"{where}: `{key}` is none that the runner has; use cdpd predict")
    return rule


def _stored(selection: Selection) -> tuple[int, ...]:
    values = selection.tree.stored_values(selection.wanted)
    return (0, *(int(values[k + 1]) for k in selection.needed))


def _rivalry(selection: Selection) -> Rivalry:
    """Of the network's outputs: the needed classes, counted from 0."""
    channel = {k: i for i, k in enumerate(selection.needed)}
    rivals: dict[int | None, tuple[int, ...]] = {}
    for parent, found in selection.tree.rivals.items():
        competing = tuple(channel[k] for k in found if k in channel)
        if parent is None or (parent in channel and competing):
            rivals[None if parent is None else channel[parent]] = competing
    return Rivalry(rivals)
