"""Plans for prediction without a GPU: coarse, a whole cross-section in a patch, and a network that our trainer trains."""

import json

import pytest
import torch
from builders.training import make_tiny, make_trainer

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPDCPU
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD


def scans(folder, shapes, spacing):
    path = folder / "dataset_fingerprint.json"
    changed = {"spacings": [spacing] * len(shapes), "shapes_after_crop": shapes}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_plans_are_coarse_and_a_patch_holds_the_cross_section_of_most_images(planned_dataset, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    scans(planned_dataset, [[400, 384, 512]] * 15 + [[700, 400, 520]] * 5, [1.0, 0.8, 0.8])
    plans = nnUNetPlannerCDPDCPU(840).plan_experiment()
    assert (planned_dataset / "nnUNetCDPDCPUPlans.json").is_file()
    configuration = plans["configurations"]["3d_fullres"]
    assert list(configuration["spacing"]) == [3, 3, 3]
    assert configuration["data_identifier"] == "nnUNetCDPDCPUPlans_3d_fullres"
    assert list(configuration["median_image_size_in_voxels"]) == [133, 102, 137]
    # 90 % of the images have at most 233 x 107 x 139 voxels; along the body there may be several windows
    assert list(configuration["patch_size"]) == [144, 112, 144]
    kwargs = configuration["architecture"]["arch_kwargs"]
    assert list(kwargs["features_per_stage"]) == [16, 64, 128, 256, 320]
    assert set(kwargs["n_conv_per_stage_decoder"]) == {1}
    assert kwargs["vision"]["model_name"].startswith("vit_small") and len(kwargs["fused_stages"]) == 1


def test_what_is_coarser_stays_and_what_the_user_asks_for_is_taken(planned_dataset):
    scans(planned_dataset, [[80, 400, 400]] * 20, [5.0, 0.8, 0.8])
    assert nnUNetPlannerCDPDCPU(840).determine_fullres_target_spacing().tolist() == [5, 3, 3]
    planner = nnUNetPlannerCDPDCPU(840, overwrite_target_spacing=[4.0, 2.0, 2.0])
    assert planner.determine_fullres_target_spacing().tolist() == [4, 2, 2]
    assert planner.generate_data_identifier("3d_fullres") == "nnUNetCDPDCPUPlans_3d_fullres"


def test_images_of_which_nothing_is_left_are_told(planned_dataset):
    scans(planned_dataset, [[200, 300, 200]] * 20, [0.1, 0.1, 0.1])
    with pytest.raises(UserError, match="have 7 x 10 x 7 voxels of 3 x 3 x 3 mm, too few .* plan with nnUNetPlannerCDPD$"):
        nnUNetPlannerCDPDCPU(840)


def test_our_trainer_trains_the_network(planned_dataset, monkeypatch):
    scans(planned_dataset, [[40, 36, 36]] * 20, [3.0, 3.0, 3.0])
    monkeypatch.setenv("CDPD_TEXT_WEIGHTS", "learned")
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    planner = nnUNetPlannerCDPDCPU(840)
    plans = planner.plan_experiment()
    configuration = plans["configurations"]["3d_fullres"]
    make_tiny(configuration["architecture"]["arch_kwargs"]["vision"])
    planner.save_plans(plans)
    monkeypatch.delenv("CDPD_VISION_ENCODER")  # plans have it now
    cases = planned_dataset / configuration["data_identifier"]
    cases.mkdir()
    (cases / "case_0.b2nd").touch()  # by which a trainer knows the format, when it is made
    trainer = make_trainer(
        planned_dataset.parents[1],
        planned_dataset.name,
        trainer_class=nnUNetTrainerCDPD,
        plans=planner.plans_identifier,
    )
    trainer.initialize()
    assert trainer.cdpdnet.encoder.output_channels[:2] == [16, 64]
    assert len(trainer.cdpdnet.fusions) == 1 and trainer.cdpdnet.slice_encoder.embed_dim == 24
    patch, sources = trainer.configuration_manager.patch_size, torch.tensor([0, 1])
    sizes = [[int(n * share) for n, share in zip(patch, shares)] for shares in trainer._get_deep_supervision_scales()]
    scales = [torch.zeros((2, 1, *size), dtype=torch.int16) for size in sizes]
    for label_map in scales:
        label_map[0, :, 2:5, 2:5, 2:5], label_map[1, :, 2:5, 2:5, 2:5] = 1, 2
    batch = {"data": torch.randn((2, 1, *patch)), "target": [*scales, sources], "task": sources}
    before = [parameter.clone() for parameter in trainer.cdpdnet.fusions.parameters()]
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(2)]
    assert losses[1] < losses[0]
    assert all(not torch.equal(was, now) for was, now in zip(before, trainer.cdpdnet.fusions.parameters()))
