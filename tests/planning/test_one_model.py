"""Plans of one model: what folds have to agree in, and what may differ between them."""

import copy

import pytest
from builders import model as tiny_model

from nnunetv2_cdpd.planning.one_model import differing_plans

NAME = tiny_model.CONFIGURATION
WINDOW = [[-1.0, 1.0]]


def plans_with(change=None, scheme="CTNormalization"):
    plans = tiny_model.make_plans(normalization_schemes=[scheme])
    numbers = {"mean": 40.0, "std": 100.0, "percentile_00_5": -900.0, "percentile_99_5": 300.0}
    plans["foreground_intensity_properties_per_channel"] = {"0": numbers}
    configuration = plans["configurations"][NAME]
    kwargs = configuration["architecture"]["arch_kwargs"]
    kwargs["vision"] |= {"intensity_windows": copy.deepcopy(WINDOW)}
    if change is not None:
        change(plans, configuration, kwargs)
    return plans


def difference(change, **options):
    return differing_plans(plans_with(**options), plans_with(change, **options), NAME)


def intensities(**added):
    def change(plans, configuration, kwargs):
        for key, value in added.items():
            plans["foreground_intensity_properties_per_channel"]["0"][key] += value

    return change


def vision(**entries):
    return lambda plans, configuration, kwargs: kwargs["vision"].update(entries)


def in_configuration(**entries):
    return lambda plans, configuration, kwargs: configuration.update(entries)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda plans, *_: plans.update(transpose_forward=[1, 0, 2]), "transpose_forward"),
        (lambda plans, *_: plans.update(image_reader_writer="NibabelIOWithReorient"), "image_reader_writer"),
        (in_configuration(spacing=[9.0, 9.0, 9.0]), "spacing"),
        (in_configuration(preprocessor_name="Other"), "preprocessor_name"),
        (intensities(mean=20.0), "foreground_intensity_properties_per_channel"),
        (vision(fusion="values"), "vision: fusion"),
        (vision(mean=[0.1] * 3), "vision: mean"),
        (vision(intensity_windows=[[-1.0, 3.0]]), "vision: intensity_windows"),
        (lambda plans, configuration, kwargs: kwargs.update(vision=None), "vision"),
        (lambda plans, configuration, kwargs: kwargs["text"].update(modulate=False), "text: modulate"),
        (lambda plans, configuration, kwargs: kwargs["task"].update(universal=False), "task: universal"),
    ],
)
def test_what_a_prediction_would_be_another_one_by_is_told(change, told):
    assert difference(change) == [told]


@pytest.mark.parametrize(
    "change",
    [
        intensities(mean=4.0, std=-3.0, percentile_99_5=2.0),  # of a few more cases
        vision(intensity_windows=[[-1.02, 1.03]]),  # which follows from them
        vision(fusion="queries", token_dropout=0.0, guide=0.0),  # the defaults
        vision(guide=0.5, token_dropout=0.2),  # of training alone
        in_configuration(batch_size=7, batch_dice=True),
        lambda plans, configuration, kwargs: kwargs["text"].update(class_prompts=["other words"] * 9),
        lambda plans, *_: plans.update(plans_name="other", image_reader_writer="NibabelIO"),
    ],
)
def test_what_makes_no_other_prediction_is_none(change):
    assert difference(change) == []


def test_intensities_count_only_where_a_normalization_reads_them():
    assert difference(intensities(mean=200.0, std=300.0), scheme="ZScoreNormalization") == []


@pytest.mark.parametrize("plans", [{}, {"configurations": 5}, {"configurations": {NAME: {"inherits_from": NAME}}}])
def test_what_is_no_plan_of_ours_has_nothing_to_agree_in(plans):
    assert differing_plans(plans, plans, NAME) == []


def test_a_configuration_is_compared_with_what_it_inherits():
    plans = plans_with()
    inherited = copy.deepcopy(plans)
    inherited["configurations"] = {"base": inherited["configurations"][NAME], NAME: {"inherits_from": "base"}}
    assert differing_plans(plans, inherited, NAME) == []
    inherited["configurations"][NAME]["spacing"] = [5.0, 5.0, 5.0]
    assert differing_plans(plans, inherited, NAME) == ["spacing"]
