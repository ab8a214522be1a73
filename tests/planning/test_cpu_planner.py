"""Plans for prediction without a GPU: coarse, a whole cross-section in a patch, and a network that our trainer trains."""

import json
from dataclasses import replace

import numpy as np
import pytest
from builders.training import MERGED, TINY_VIT, make_trainer, training_folders
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, preprocess_dataset

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPDCPU
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD


def scans(folder, shapes, spacing):
    path = folder / "dataset_fingerprint.json"
    changed = {"spacings": [spacing] * len(shapes), "shapes_after_crop": shapes}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_plans_are_coarse_and_a_patch_holds_the_cross_section_of_most_images(planned_dataset):
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


class OneIteration(nnUNetTrainerCDPD):
    recipe = replace(nnUNetTrainerCDPD.recipe, num_epochs=1, num_iterations_per_epoch=1, num_val_iterations_per_epoch=1)


def test_our_trainer_trains_the_network(tmp_path):
    with training_folders(tmp_path, datasets=(), num_cases=2) as root:
        extract_fingerprint_dataset(820, num_processes=1, show_progress_bar=False)
        planner = nnUNetPlannerCDPDCPU(820, overwrite_target_spacing=[0.8, 0.8, 0.8])  # the volumes are 3 cm wide
        plans = planner.plan_experiment()
        kwargs = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
        kwargs["vision"].update(TINY_VIT)
        planner.save_plans(plans)
        preprocess_dataset(820, planner.plans_identifier, ["3d_fullres"], [1], show_progress_bar=False)
        trainer = make_trainer(root, MERGED, trainer_class=OneIteration, fold="all", plans=planner.plans_identifier)
        trainer.on_train_start()
        assert trainer.cdpdnet.encoder.output_channels[:2] == [16, 64]
        assert len(trainer.cdpdnet.fusions) == 1 and trainer.cdpdnet.slice_encoder.embed_dim == 24
        trainer.on_epoch_start(), trainer.on_train_epoch_start()
        assert np.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])
