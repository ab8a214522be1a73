"""The vision encoder that a user names outside of the plans: in new plans, in plans of others, and in the network."""

import re
from dataclasses import replace

import pytest
from builders.planning import ANNOTATION, INTENSITIES
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network.vision_settings import split_vision
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPDSmall
from nnunetv2_cdpd.planners.nnUNetPlannerCDPDPaper import nnUNetPlannerCDPDPaper
from nnunetv2_cdpd.planning.architecture import NetworkSettings, cdpd_architecture, plans_with_cdpd
from nnunetv2_cdpd.pretrained.encoder_choice import find_encoder

MEAN, STD = (65.1084213256836 + 1000) / 2000, 178.01663208007812 / 2000  # of -1000 ... 1000 HU as 0 ... 1
MEDDINOV3 = {
    "encoder": "meddinov3",
    "model_name": "vit_base_patch16_dinov3",
    "model_kwargs": {},
    "mean": [pytest.approx(MEAN)] * 3,
    "std": [pytest.approx(STD)] * 3,
    "intensity_windows": [[-21.5, 18.5]],  # in units of (HU - 75) / 50
}
OF_THE_NETWORK = ("slice_axis", "slice_step", "gate")


def stock(schemes):
    """A configuration of nnU-Net's own plans."""
    unet = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    architecture = {
        "network_class_name": unet, "arch_kwargs": {"strides": [[1, 1], [2, 2], [2, 2]]}, "_kw_requires_import": []
    }  # fmt: skip
    return {"patch_size": [16, 16], "architecture": architecture, "normalization_schemes": schemes}


def vision_of(plans, name="3d_fullres"):
    return plans["configurations"][name]["architecture"]["arch_kwargs"]["vision"]


def facts(vision):
    return {key: value for key, value in vision.items() if key not in OF_THE_NETWORK}


def small_plans(encoder="dinov2-small"):
    planner = nnUNetPlannerCDPDSmall(840)
    planner.network_settings = replace(planner.network_settings, vision_encoder=encoder)
    return planner.plan_experiment()


def test_without_a_choice_there_are_no_vision_tokens(planned_dataset):
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    assert vision_of(plans) is None is vision_of(plans, "2d")
    assert (
        cdpd_architecture(stock(["CTNormalization"]), ANNOTATION, INTENSITIES, NetworkSettings())["arch_kwargs"]["vision"] is None
    )
    # which a choice when training starts gives them
    made = plans_with_cdpd(plans, "3d_fullres", ANNOTATION, NetworkSettings(vision_encoder="dinov2-small"))
    assert vision_of(made) == vision_of(small_plans())


@pytest.mark.parametrize(
    "short, name", [("dinov2", "vit_base_patch14_dinov2.lvd142m"), ("dinov2-small", "vit_small_patch14_dinov2.lvd142m")]
)
def test_dinov2_has_a_short_name(short, name):
    imagenet = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    settings = NetworkSettings(vision_encoder=short)
    vision = cdpd_architecture(stock(["CTNormalization"]), ANNOTATION, INTENSITIES, settings)["arch_kwargs"]["vision"]
    assert vision == {
        "encoder": name, "model_name": name, "model_kwargs": {}, "mean": imagenet[0], "std": imagenet[1],
        "intensity_windows": [[-5.0, 3.5]], "slice_axis": 0, "slice_step": 1, "gate": "closed",
    }  # fmt: skip
    assert settings.vision_weights_name == name  # where timm keeps them


def test_the_gate_of_new_plans_is_closed_and_plans_keep_theirs(planned_dataset):
    """Plans of before have no entry, which is the gate that they were made with."""
    plans = small_plans()
    assert vision_of(plans)["gate"] == vision_of(plans, "2d")["gate"] == "closed"
    del vision_of(plans)["gate"]
    for settings in (NetworkSettings(), NetworkSettings(vision_encoder="rad-dino")):
        assert "gate" not in vision_of(plans_with_cdpd(plans, "3d_fullres", ANNOTATION, settings))
    assert split_vision(vision_of(plans))[0].gate == "blocks"


def test_the_papers_network_has_vision_tokens_and_no_gate(planned_dataset):
    plans = nnUNetPlannerCDPDPaper(840).plan_experiment()
    assert vision_of(plans)["model_name"] == "vit_base_patch14_dinov2.lvd142m" and "gate" not in vision_of(plans)


def test_planner_writes_the_chosen_encoder(planned_dataset, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "meddinov3")
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    for name in ("2d", "3d_fullres"):
        assert facts(vision_of(plans, name)) == MEDDINOV3


def test_chosen_encoder_takes_the_place_of_that_of_the_plans_and_only_that(planned_dataset):
    plans = small_plans()
    before = dict(vision_of(plans))
    changed = plans_with_cdpd(plans, "3d_fullres", ANNOTATION, NetworkSettings(vision_encoder="meddinov3"))
    assert facts(vision_of(changed)) == MEDDINOV3 and vision_of(plans) == before
    assert {key: vision_of(changed)[key] for key in OF_THE_NETWORK} == {key: before[key] for key in OF_THE_NETWORK}
    kwargs = changed["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    unchanged = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert {key for key in kwargs if kwargs[key] != unchanged[key]} == {"vision"}
    # without the choice, such plans stay as they are; another one replaces all of it
    assert plans_with_cdpd(changed, "3d_fullres", ANNOTATION, NetworkSettings()) == changed
    other = plans_with_cdpd(changed, "3d_fullres", ANNOTATION, NetworkSettings(vision_encoder="rad-dino"))
    assert facts(vision_of(other)) == {
        "encoder": "rad-dino", "model_name": "vit_base_patch14_dinov2.lvd142m", "model_kwargs": {},
        "mean": [0.5307] * 3, "std": [0.2583] * 3, "intensity_windows": before["intensity_windows"],
    }  # fmt: skip


def test_plans_of_the_named_encoder_keep_the_users_edits(planned_dataset, monkeypatch):
    """The variable is exported for planning and training alike."""
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    vision_of(plans).update(
        channels="windows", intensity_windows=[[-1.0, 0.0], [0.0, 1.0], [1.0, 2.0]], model_kwargs={"depth": 6}
    )
    assert plans_with_cdpd(plans, "3d_fullres", ANNOTATION, NetworkSettings().with_chosen_encoder()) == plans
    for key in ("encoder", "mean", "std"):  # which plans of before do not have
        del vision_of(plans)[key]
    assert plans_with_cdpd(plans, "3d_fullres", ANNOTATION, NetworkSettings().with_chosen_encoder()) == plans


def test_a_file_that_was_corrected_since_is_not_passed_over(planned_dataset, monkeypatch, tmp_path):
    path = tmp_path / "my_ct.yaml"
    text = "model: vit_small_patch16_224\nunit: HU\nmean: 65\nstd: 178\nwindow: [-1000, 1000]\n"
    path.write_text(text)
    monkeypatch.setenv("CDPD_VISION_ENCODER", str(path))
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    settings = NetworkSettings().with_chosen_encoder()
    vision_of(plans)["blocks"] = [12]
    assert plans_with_cdpd(plans, "3d_fullres", ANNOTATION, settings) == plans
    path.write_text(text.replace("65", "-200").replace("[-1000, 1000]", "[-200, 300]"))
    find_encoder.cache_clear()  # of another process
    with pytest.raises(UserError, match="my_ct.yaml .*: the plans say otherwise of mean, std, intensity_windows; plan again"):
        plans_with_cdpd(plans, "3d_fullres", ANNOTATION, settings)


def test_windows_that_a_file_does_not_tell_are_those_of_the_plans(planned_dataset, monkeypatch, tmp_path):
    path = tmp_path / "my_ct.yaml"
    path.write_text("model: vit_small_patch16_224\nunit: image\nmean: 0.5\nstd: 0.2\n")
    monkeypatch.setenv("CDPD_VISION_ENCODER", str(path))
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    vision_of(plans)["intensity_windows"] = [[-2.0, 2.0]]  # the user's edit
    settings = replace(NetworkSettings().with_chosen_encoder(), ct_window_hu=(-1000.0, 1000.0))
    assert plans_with_cdpd(plans, "3d_fullres", ANNOTATION, settings) == plans


@pytest.mark.parametrize(
    ("vision", "words"),
    [
        ({"fusions": "values"}, "vision` has fusions, which is no setting"),
        ({"positions_in_slice": True}, "vision` has positions_in_slice, which is no setting"),
        ({"adapters": 1.5}, "`vision: adapters` is 1.5, not "),
        ({"slice_scale": "4"}, "`vision: slice_scale` is '4', not "),
        ({"guide": float("nan")}, "`vision: guide` is nan, not "),
        ({"whole_slices": "false"}, "`vision: whole_slices` is 'false', not "),
        ({"positions": "slice", "whole_slices": True}, "vision`: vision `positions` 'slice' is for a ViT that sees patches"),
        ({"adapters": 2, "whole_slices": True}, "vision`: vision `adapters` change the tokens at every step"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_a_recipe_says_of_tokens_is_checked(planned_dataset, vision, words):
    settings = NetworkSettings(vision_encoder="dinov2-small", vision=vision)
    with pytest.raises(UserError, match=re.escape(words)):
        plans_with_cdpd(small_plans(), "3d_fullres", ANNOTATION, settings)


def test_the_papers_plans_may_be_asked_for_the_encoder_that_they_have(planned_dataset, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2")
    plans = nnUNetPlannerCDPDPaper(840).plan_experiment()
    monkeypatch.delenv("CDPD_VISION_ENCODER")
    assert vision_of(plans) == vision_of(nnUNetPlannerCDPDPaper(840).plan_experiment())


def test_stock_plans_get_the_encoder_of_a_recipe():
    made = cdpd_architecture(stock(["CTNormalization"]), ANNOTATION, INTENSITIES, NetworkSettings(vision_encoder="biomedclip"))
    vision = made["arch_kwargs"]["vision"]
    assert (vision["encoder"], vision["model_name"]) == ("biomedclip", "vit_base_patch16_224")
    assert vision["mean"] == [0.48145466, 0.4578275, 0.40821073] and vision["intensity_windows"] == [[-5.0, 3.5]]


def test_choice_outside_goes_before_the_recipe_and_ablations_stay(monkeypatch, planned_dataset):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "rad-dino")
    settings = NetworkSettings(vision_encoder="biomedclip").with_chosen_encoder()
    assert (settings.vision_encoder, settings.vision_weights_name) == ("rad-dino", "rad-dino")
    monkeypatch.delenv("CDPD_VISION_ENCODER")
    assert NetworkSettings(vision_encoder="biomedclip").with_chosen_encoder().vision_encoder == "biomedclip"
    assert NetworkSettings().with_chosen_encoder() == NetworkSettings()
    assert NetworkSettings().vision_weights_name is None
    without = NetworkSettings(vision_tokens=False, vision_encoder="rad-dino")
    assert without.vision_weights_name is None
    plans = small_plans()
    assert vision_of(plans_with_cdpd(plans, "3d_fullres", ANNOTATION, without)) is None


def test_network_of_such_plans_sees_the_statistics(planned_dataset, tmp_path):
    path = tmp_path / "my_ct.yaml"
    path.write_text("{model: vit_tiny_patch16_224, unit: HU, mean: 0, std: 100, window: [-200, 300]}")
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    settings = NetworkSettings(vision_encoder=str(path))
    architecture = plans_with_cdpd(plans, "3d_fullres", ANNOTATION, settings)["configurations"]["3d_fullres"]["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"], 1, 3,
        deep_supervision=False,
    )  # fmt: skip
    encoder = network.slice_encoder
    assert (encoder.weights_name, encoder.model_name) == ("my_ct", "vit_tiny_patch16_224")
    assert encoder.mean.tolist() == pytest.approx([0.4] * 3) and encoder.std.tolist() == pytest.approx([0.2] * 3)
    assert encoder.window_low.tolist() == pytest.approx([-5.5])  # (-200 - 75) / 50


def test_encoder_of_hu_is_refused_for_other_images():
    configuration = stock(["CTNormalization", "ZScoreNormalization"])
    properties = {**INTENSITIES, "1": INTENSITIES["0"]}
    with pytest.raises(UserError, match="encoder meddinov3 .*knows CT alone.*ZScoreNormalization"):
        cdpd_architecture(configuration, ANNOTATION, properties, NetworkSettings(vision_encoder="meddinov3"))
    made = cdpd_architecture(configuration, ANNOTATION, properties, NetworkSettings(vision_encoder="rad-dino"))
    assert made["arch_kwargs"]["vision"]["intensity_windows"] == [[-5.0, 3.5], [-3.0, 3.0]]


def test_network_of_the_paper_keeps_its_encoder(planned_dataset, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "rad-dino")
    with pytest.raises(UserError, match="encoder rad-dino .*the paper's network has DINOv2 ViT-B/14; unset it"):
        nnUNetPlannerCDPDPaper(840).plan_experiment()
