"""The vision encoder that a user names outside of the plans: in new plans, in plans of others, and in the network."""

import pytest
from builders.planning import ANNOTATION, INTENSITIES
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network.vision_settings import split_vision
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPDSmall
from nnunetv2_cdpd.planners.nnUNetPlannerCDPDPaper import nnUNetPlannerCDPDPaper
from nnunetv2_cdpd.planning.architecture import NetworkSettings, cdpd_architecture, plans_with_cdpd

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


def test_plans_without_a_choice_have_none_of_its_entries(planned_dataset):
    vision = vision_of(nnUNetPlannerCDPDSmall(840).plan_experiment())
    assert set(vision) == {"model_name", "model_kwargs", "intensity_windows", *OF_THE_NETWORK}
    assert vision["model_name"] == "vit_small_patch14_dinov2.lvd142m"


def test_the_gate_of_new_plans_is_closed_and_plans_keep_theirs(planned_dataset):
    """Plans of before have no entry, which is the gate that they were made with."""
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    assert vision_of(plans)["gate"] == vision_of(plans, "2d")["gate"] == "closed"
    on_stock_plans = cdpd_architecture(stock(["CTNormalization"]), ANNOTATION, INTENSITIES, NetworkSettings())
    assert on_stock_plans["arch_kwargs"]["vision"]["gate"] == "closed"
    del vision_of(plans)["gate"]
    assert "gate" not in vision_of(plans_with_cdpd(plans, "3d_fullres", ANNOTATION, NetworkSettings()))
    assert split_vision(vision_of(plans))[0].gate == "blocks"


def test_the_papers_network_gets_no_gate(planned_dataset):
    """Nor where its plans are without vision, as an ablation left them, and a recipe has it."""
    plans = nnUNetPlannerCDPDPaper(840).plan_experiment()
    assert "gate" not in vision_of(plans)
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["vision"] = None
    assert "gate" not in vision_of(plans_with_cdpd(plans, "3d_fullres", ANNOTATION, NetworkSettings()))


def test_planner_writes_the_chosen_encoder(planned_dataset, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "meddinov3")
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    for name in ("2d", "3d_fullres"):
        assert facts(vision_of(plans, name)) == MEDDINOV3


def test_chosen_encoder_takes_the_place_of_that_of_the_plans_and_only_that(planned_dataset):
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
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
    assert NetworkSettings().vision_weights_name == "vit_base_patch14_dinov2.lvd142m"
    without = NetworkSettings(vision_model=None, vision_encoder="rad-dino")
    assert without.vision_weights_name is None
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
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
    with pytest.raises(UserError, match="CDPD_VISION_ENCODER=meddinov3: meddinov3 knows CT alone.*ZScoreNormalization"):
        cdpd_architecture(configuration, ANNOTATION, properties, NetworkSettings(vision_encoder="meddinov3"))
    made = cdpd_architecture(configuration, ANNOTATION, properties, NetworkSettings(vision_encoder="rad-dino"))
    assert made["arch_kwargs"]["vision"]["intensity_windows"] == [[-5.0, 3.5], [-3.0, 3.0]]


def test_network_of_the_paper_keeps_its_encoder(planned_dataset, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "rad-dino")
    with pytest.raises(UserError, match="CDPD_VISION_ENCODER=rad-dino: the paper's network has DINOv2 ViT-B/14; unset it"):
        nnUNetPlannerCDPDPaper(840).plan_experiment()
