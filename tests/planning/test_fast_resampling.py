"""Planners whose plans name our resampling of images: everything else is as in the plans of their twins."""

import json

import pytest
import torch
from builders import model as tiny_model
from nnunetv2.preprocessing.resampling import default_resampling
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.link import find_class
from nnunetv2_cdpd.volumes.interpolation import cdpd_resample_by_axis


@pytest.fixture
def linked(monkeypatch):
    """nnU-Net finds the function, as after `cdpd link`."""
    monkeypatch.setattr(default_resampling, "cdpd_resample_by_axis", cdpd_resample_by_axis, raising=False)


@pytest.fixture
def unlinked(monkeypatch):
    def not_found(name):
        raise RuntimeError(f"Unable to find resampling function named '{name}'.")

    monkeypatch.setattr("nnunetv2_cdpd.planning.fast_resampling.recursive_find_resampling_fn_by_name", not_found)


def test_plans_differ_in_names_only(planned_dataset, linked):
    made = {}
    for name in ("", "FastResampling"):
        planner = find_class(f"nnUNetPlannerCDPD{name}")(840)
        planner.lowres_creation_threshold = 0  # planning without a cascade takes a fraction of the time
        planner.plan_experiment()
        made[name] = json.loads((planned_dataset / f"nnUNetCDPD{name}Plans.json").read_text())
    plans, fast = made[""], made["FastResampling"]
    for name, configuration in fast["configurations"].items():
        manager = PlansManager(fast).get_configuration(name)
        assert manager.resampling_fn_data.func is cdpd_resample_by_axis
        assert manager.resampling_fn_seg.func is default_resampling.resample_data_or_seg_to_shape
        assert configuration.pop("resampling_fn_data") == "cdpd_resample_by_axis"
        assert plans["configurations"][name].pop("resampling_fn_data") == "resample_data_or_seg_to_shape"
    named = ("plans_name", "experiment_planner_used")
    assert [fast.pop(key) for key in named] != [plans.pop(key) for key in named]
    assert fast == plans


@pytest.mark.parametrize("size", ["M", "L", "XL"])
def test_every_preset_has_such_a_twin(planned_dataset, linked, size):
    planner = find_class(f"nnUNetPlannerCDPD{size}FastResampling")(840)
    assert planner.plans_identifier == f"nnUNetCDPD{size}FastResamplingPlans"
    assert planner.UNet_vram_target_GB == find_class(f"nnUNetPlannerCDPD{size}")(840).UNet_vram_target_GB


def test_no_such_plans_where_nnunet_would_not_find_the_function(planned_dataset, unlinked):
    with pytest.raises(UserError, match=r"run: cdpd link, or, .* read-only, plan with nnUNetPlannerCDPDL$"):
        find_class("nnUNetPlannerCDPDLFastResampling")(840)


def test_prediction_needs_no_link(tmp_path, monkeypatch):
    """A model of such plans where nnU-Net does not find the function gives what one of the plain plans gives."""

    def only_its_own(name):
        return {"resample_data_or_seg_to_shape": default_resampling.resample_data_or_seg_to_shape}[name]

    monkeypatch.setattr("nnunetv2.utilities.plans_handling.plans_handler.recursive_find_resampling_fn_by_name", only_its_own)
    cases = []
    for name in ("resample_data_or_seg_to_shape", "cdpd_resample_by_axis"):
        folder = tiny_model.write_model(tmp_path / name, resampling_fn_data=name)
        cases.append(Predictor.from_folder(folder, device="cpu").preprocess_array(tiny_model.make_image(), (2.0, 0.8, 0.9)))
    assert torch.equal(cases[0].data, cases[1].data)
