"""All public datasets in one: converted replicas are merged without a YAML, then planned, preprocessed and trained on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from builders.replica_files import SHAPE
from builders.replicas import REPLICAS

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, UNSUPERVISED, read_annotation
from nnunetv2_cdpd.conversion.registry import public_dataset
from nnunetv2_cdpd.conversion.run import convert
from nnunetv2_cdpd.merge import merge_datasets

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """Folder of the merged dataset, all replicas, and what the merge said."""
    root = tmp_path_factory.mktemp("all_public")
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(root / name))
        replicas = [build(root / "download" / build.__name__) for build in REPLICAS]
        folders = []
        for replica in replicas:
            dataset = public_dataset(replica.name)
            folders.append(convert(dataset, replica.folder, num_processes=1, progress=False, report=lambda line: None).folder)
        folder = merge_datasets(
            folders, 400, "All", num_processes=1, search_duplicates=False, progress=False, report=lines.append
        )
        yield folder, replicas, lines


@pytest.fixture(scope="module")
def annotation(merged):
    return read_annotation(json.loads((merged[0] / "dataset.json").read_text()))


def test_every_case_keeps_its_structures(merged, annotation):
    folder, replicas, _ = merged
    groups = {label.name: label for label in annotation.merged_labels}
    checked = 0
    for replica in replicas:
        for case, truth in replica.cases.items():
            image = nibabel.as_closest_canonical(nibabel.load(folder / f"labelsTr/{case}.nii.gz"))
            label = np.asanyarray(image.dataobj)
            assert label.shape == SHAPE
            for name, mask in truth.masks.items():
                values = {groups[name].value} if name in groups else set(annotation.regions[annotation.classes.index(name)])
                assert mask[np.isin(label, list(values))].any() and np.isin(label[mask], list(values)).all(), (case, name)
                checked += 1
    assert checked > 400


def test_merged_labels_are_those_of_pairs(annotation):
    assert {label.name: set(label.classes) for label in annotation.merged_labels} == {
        "kidney": {"right_kidney", "left_kidney"},
        "lung": {"right_lung", "left_lung"},
        "adrenal_gland": {"right_adrenal_gland", "left_adrenal_gland"},
        "hip": {"hip_right", "hip_left"},
    }


def test_facts_of_the_sources_arrive(annotation):
    sources = {source.name: source for source in annotation.sources}
    # Two label sets of BTCV_MultiOrgan, men and others of two releases of TotalSegmentator, and three that annotate in part
    assert len(sources) == len(REPLICAS) + 6
    assert set(sources["KITS23"].annotated_classes) == {"kidney_tumor", "kidney_cyst"}
    assert sources["KITS23"].merged_labels == ("kidney",) and sources["KITS23"].license == "CC BY-NC-SA 4.0"
    assert "prostate" in sources["TotalSegmentator"].annotated_classes
    assert "prostate" not in sources["TotalSegmentator_without_prostate"].annotated_classes
    assert len(sources["BTCV_MultiOrgan_8"].annotated_classes) == len(sources["PancreasCT_MultiOrgan"].annotated_classes) == 8
    assert "Gibson" in sources["PancreasCT_MultiOrgan"].reference


def test_what_differs_between_datasets_is_not_denied(annotation):
    names = [source.name for source in annotation.sources]
    value_of = dict(zip(annotation.classes, annotation.values))

    def state(source, inside, name):
        value = 0 if inside == "background" else value_of[inside]
        return annotation.tables[names.index(source)][value, annotation.column_names.index(name)]

    assert state("KITS19", "background", "kidney_cyst") == UNSUPERVISED  # its cysts are kidney
    assert state("KITS23", "background", "kidney_cyst") == NEGATIVE
    assert state("MSD_HepaticVessel", "background", "liver_tumor") == UNSUPERVISED
    assert state("LiTS", "liver_tumor", "liver") == POSITIVE
    assert state("BTCV", "liver", "liver_tumor") == UNSUPERVISED
    assert state("MSD_Colon", "background", "colon") == UNSUPERVISED
    assert state("TotalSegmentator", "left_femur", "left_head_of_femur") == UNSUPERVISED
    assert state("WORD", "left_head_of_femur", "left_femur") == POSITIVE
    assert state("TotalSegmentator", "left_kidney_cyst", "left_kidney") == POSITIVE
    assert state("PancreasCT_MultiOrgan", "background", "right_kidney") == UNSUPERVISED
    assert state("TotalSegmentator", "colon", "rectum") == UNSUPERVISED
    assert state("AMOS22", "prostate", "uterus") == UNSUPERVISED
    assert state("TotalSegmentator", "vertebrae_S1", "sacrum") == POSITIVE
    assert state("TotalSegmentator_v3", "background", "vertebrae_S1") == UNSUPERVISED
    assert state("TotalSegmentator", "background", "vertebrae_L6") == UNSUPERVISED
    assert state("VerSe", "vertebrae_L3", "lumbar_vertebrae") == POSITIVE
    assert state("CTPelvic1K", "lumbar_vertebrae", "vertebrae_L3") == UNSUPERVISED
    assert state("MMWHS_CT", "ascending_aorta", "aorta") == POSITIVE
    assert state("MMWHS_CT", "background", "aorta") == UNSUPERVISED
    assert state("TotalSegmentator_v1", "heart_myocardium", "heart") == POSITIVE


def test_regions_of_the_body_and_organs_do_not_deny_each_other(annotation):
    names = [source.name for source in annotation.sources]
    value_of = dict(zip(annotation.classes, annotation.values))

    def state(source, inside, name):
        return annotation.tables[names.index(source)][value_of[inside], annotation.column_names.index(name)]

    assert state("LiTS", "liver", "abdominal_cavity") == UNSUPERVISED
    assert state("SAROS", "abdominal_cavity", "liver") == UNSUPERVISED
    assert state("SAROS", "abdominal_cavity", "thoracic_cavity") == NEGATIVE


def test_what_a_case_annotates_in_part_is_taught_in_part(annotation):
    names = [source.name for source in annotation.sources]

    def background(source, name):
        return annotation.tables[names.index(source)][0, annotation.column_names.index(name)]

    assert background("FLARE23", "aorta") == background("FLARE23_4_organs", "liver") == NEGATIVE
    assert background("FLARE23_4_organs", "aorta") == UNSUPERVISED
    assert background("BTCV_Cervix_3", "rectum") == NEGATIVE
    assert background("BTCV_Cervix_3", "intestine") == UNSUPERVISED
    assert background("AbdomenAtlas1_1Mini_9", "colon") == UNSUPERVISED


def test_all_orientations_become_one_in_nnunet(merged):
    dataset_json = json.loads((merged[0] / "dataset.json").read_text())
    assert dataset_json["overwrite_image_reader_writer"] == "NibabelIOWithReorient"


def test_class_of_one_collection_can_be_kept_apart(merged):
    raw = merged[0].parent
    folders = [next(raw.glob(f"Dataset3??_{name}")) for name in ("MSD_Pancreas", "BTCV", "TotalSegmentator")]
    ids = {folder.name.partition("_")[2]: folder.name for folder in folders}
    spec = {
        "scoped": {"pancreas": "MSD_Pancreas"},
        "datasets": {ids["TotalSegmentator"]: {"labels": {"colon": "colon@TotalSegmentator"}}},
    }
    options = {"num_processes": 1, "search_duplicates": False, "progress": False, "report": lambda line: None}
    folder = merge_datasets(folders, 401, "Apart", spec=spec, **options)
    annotation = read_annotation(json.loads((folder / "dataset.json").read_text()))
    assert {"pancreas", "pancreas@MSD_Pancreas", "colon@TotalSegmentator"} <= set(annotation.classes)
    assert "colon" not in annotation.classes
    msd = annotation.sources[0]
    assert msd.name == "MSD_Pancreas" and set(msd.annotated_classes) == {"pancreas@MSD_Pancreas", "pancreas_tumor"}
    scoped = annotation.values[annotation.classes.index("pancreas@MSD_Pancreas")]
    assert annotation.tables[0][scoped, annotation.column_names.index("pancreas")] == UNSUPERVISED


@pytest.mark.slow
@pytest.mark.parametrize("name", ["KITS23", "BTCV_MultiOrgan", "TotalSegmentator", "CHAOS"])
def test_converted_dataset_alone_passes_nnunets_integrity_check(merged, name):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    (folder,) = merged[0].parent.glob(f"Dataset3??_{name}")
    verify_dataset_integrity(str(folder), num_processes=1)


@pytest.mark.slow
def test_all_of_them_are_planned_preprocessed_and_trained_on(merged):
    root = merged[0].parents[1]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CDPD_", "nnUNet_"))}
    env |= {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
    env |= dict(nnUNet_def_n_proc="1", nnUNet_n_proc_DA="0", OMP_NUM_THREADS="2", HF_HUB_OFFLINE="1")
    env |= dict(CDPD_VISION_WEIGHTS="random", CDPD_TEXT_WEIGHTS="learned", PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}")

    def run(*command):
        result = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, timeout=1500)
        assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        return result.stdout

    run(sys.executable, "-m", "nnunetv2_cdpd.cli.main", "link")
    out = run(
        "nnUNetv2_plan_and_preprocess", "-d", "400", "-pl", "nnUNetPlannerCDPDSmall", "-c", "3d_fullres",
        "-np", "1", "-npfp", "1", "--verify_dataset_integrity",
    )  # fmt: skip
    assert "verify_dataset_integrity Done" in out
    script = (
        "import sys, torch\n"
        "from nnunetv2.run.run_training import get_trainer_from_args\n"
        "trainer = get_trainer_from_args('400', '3d_fullres', 0, 'nnUNetTrainerCDPDSmall_1epoch', 'nnUNetCDPDSmallPlans', "
        "device=torch.device('cpu'))\n"
        "trainer.initialize(); trainer.on_train_start()\n"
        "losses = [float(trainer.train_step(next(trainer.dataloader_train))['loss']) for _ in range(3)]\n"
        "assert all(torch.isfinite(torch.tensor(losses))), losses\n"
        "print('losses', losses)\n"
    )
    assert "losses" in run(sys.executable, "-c", script)
