"""Folders as people have them: mirrors, tutorials, and the assembly of eleven collections that many call PAOT."""

import nibabel
import numpy as np
import pytest
from builders import replicas
from builders.replica_files import SHAPE, label_of, make_truth, write_nifti

from nnunetv2_cdpd.conversion.registry import public_dataset
from nnunetv2_cdpd.conversion.run import convert
from nnunetv2_cdpd.errors import UserError


def converted(name, folder):
    outcome = convert(public_dataset(name), folder, num_processes=1, progress=False, report=lambda text: None)
    assert outcome.complete and not outcome.failed
    return outcome


def voxels(path):
    return np.asanyarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)


PAOT = [
    ("BTCV", "01_Multi-Atlas_Labeling/img/img0002", "01_Multi-Atlas_Labeling/label/label0002", "0002", 13),
    ("CHAOS", "03_CHAOS/ct/img/2_image", "03_CHAOS/ct/liver_label/2_segmentation", "2", 1),
    ("LiTS", "04_LiTS/img/liver_2", "04_LiTS/label/liver_2", "2", 2),
    ("KITS21", "05_KiTS/img/img0002", "05_KiTS/label/label0002", "00002", 3),
    ("WORD", "07_WORD/img/word_0002", "07_WORD/label/word_0002", "0002", 16),
    ("AbdomenCT1K", "08_AbdomenCT-1K/img/Case_00002_0000", "08_AbdomenCT-1K/label/Case_00002", "00002", 4),
    ("AMOS22", "09_AMOS/img/amos_0002", "09_AMOS/label/amos_0002", "0002", 15),
    ("MSD_Liver", "10_Decathlon/Task03_Liver/imagesTr/liver_2", "10_Decathlon/Task03_Liver/labelsTr/liver_2", "2", 2),
    ("CTORG", "12_CT-ORG/img/volume-2", "12_CT-ORG/label/labels-2", "2", 4),
    ("AbdomenCT12organ", "13_AbdomenCT-12organ/img/Organ12_0002_0000", "13_AbdomenCT-12organ/label/Organ12_0002", "0002", 12),
]
OTHERS = [
    ("BTCV", "imagesTr/img0001", "labelsTr/label0001", "0001", 13),
    ("KITS19", "images/case_00000", "kits19/data/case_00000/segmentation", "00000", 2),
    ("KITS23", "KiTS-Challenge-Imaging/images/case_00588", "kits23/dataset/case_00588/segmentation", "00588", 3),
    ("FLARE22", "FLARE22Train/images/FLARE22_Tr_0050_0000", "FLARE22Train/labels/FLARE22_Tr_0050", "0050", 13),
]


@pytest.mark.parametrize("name, image, label, case, count", [*PAOT, *OTHERS])
def test_layout_converts_as_the_download_does(name, image, label, case, count, tmp_path, nnunet_folders):
    names = {value: f"structure {value}" for value in range(1, count + 1)}
    truth = make_truth(names.values(), count)
    write_nifti(tmp_path / f"tree/{image}.nii.gz", truth.image, "LAS")
    write_nifti(tmp_path / f"tree/{label}.nii.gz", label_of(truth, names), "LAS")
    outcome = converted(name, tmp_path / "tree")
    assert list(outcome.done) == [f"{name}_{case}"]
    assert np.array_equal(voxels(outcome.folder / f"labelsTr/{name}_{case}.nii.gz"), label_of(truth, names))
    assert np.array_equal(voxels(outcome.folder / f"imagesTr/{name}_{case}_0000.nii.gz"), truth.image)


@pytest.mark.parametrize("name, image, label, case, count", [entry for entry in PAOT if entry[0] != "MSD_Liver"])
def test_folder_of_one_collection_of_the_assembly_is_enough(name, image, label, case, count, tmp_path, nnunet_folders):
    truth = make_truth(["one"], 1)
    write_nifti(tmp_path / f"{image}.nii.gz", truth.image)
    write_nifti(tmp_path / f"{label}.nii.gz", label_of(truth, {1: "one"}))
    assert list(converted(name, tmp_path / image.partition("/")[0]).done) == [f"{name}_{case}"]


@pytest.fixture(scope="module")
def whole_assembly(tmp_path_factory):
    """All collections of PAOT side by side, each with an image of its own; collection -> truth and structures."""
    folder, truths = tmp_path_factory.mktemp("assembly") / "tree", {}
    for seed, (name, image, label, _, count) in enumerate(PAOT):
        names = {value: f"structure {value}" for value in range(1, count + 1)}
        truths[name] = make_truth(names.values(), 100 + seed), names
        write_nifti(folder / f"{image}.nii.gz", truths[name][0].image, "LAS")
        write_nifti(folder / f"{label}.nii.gz", label_of(*truths[name]), "LAS")
    return folder, truths


@pytest.mark.parametrize("name, case", [(name, case) for name, _, _, case, _ in PAOT])
def test_no_collection_of_the_assembly_takes_the_images_of_another(name, case, whole_assembly, nnunet_folders):
    folder, truths = whole_assembly
    truth, names = truths[name]
    outcome = converted(name, folder)
    assert list(outcome.done) == [f"{name}_{case}"]
    assert np.array_equal(voxels(outcome.folder / f"imagesTr/{name}_{case}_0000.nii.gz"), truth.image)
    assert np.array_equal(voxels(outcome.folder / f"labelsTr/{name}_{case}.nii.gz"), label_of(truth, names))


def test_an_image_that_lits_lacks_is_not_that_of_ct_org_beside_it(tmp_path, nnunet_folders):
    truth = make_truth(["liver"], 1)
    for file in ("LITS/Training Batch 1/volume-0.nii.gz", "CT-ORG/OrganSegmentations/volume-28.nii.gz"):
        write_nifti(tmp_path / file, truth.image)
    for file in ("LITS/Training Batch 1/segmentation-0.nii.gz", "LITS/Training Batch 1/segmentation-28.nii.gz"):
        write_nifti(tmp_path / file, label_of(truth, {1: "liver"}))
    with pytest.raises(UserError, match="no image for the label of 28"):
        convert(public_dataset("LiTS"), tmp_path, num_processes=1, progress=False, report=lambda text: None)


def test_labels_of_others_in_the_assembly_are_not_taken_for_those_of_pancreas_ct(whole_assembly, nnunet_folders):
    with pytest.raises(UserError, match="no label found|no image found"):
        convert(public_dataset("PancreasCT"), whole_assembly[0], num_processes=1, progress=False, report=lambda text: None)


def test_both_label_sets_of_pancreas_ct_may_lie_in_one_folder(tmp_path, nnunet_folders):
    one = replicas.pancreas_ct(tmp_path / "download")
    (tmp_path / "download/label_tciapancreasct_multiorgan/label_tcia_multiorgan").mkdir(parents=True)
    for case in ("0001", "0002", "0082"):
        other = np.zeros(SHAPE, np.uint8)
        write_nifti(tmp_path / f"download/label_tciapancreasct_multiorgan/label_tcia_multiorgan/label{case}.nii.gz", other)
    outcome = converted("PancreasCT", tmp_path / "download")
    assert set(outcome.done) == set(one.cases)
    for case, truth in one.cases.items():
        assert np.array_equal(voxels(outcome.folder / f"labelsTr/{case}.nii.gz") == 1, truth.masks["pancreas"])


def test_multiorgan_labels_are_not_taken_for_those_of_pancreas_ct(tmp_path, nnunet_folders):
    replicas.pancreas_ct_multiorgan(tmp_path / "download")
    with pytest.raises(Exception, match="no label found"):
        converted("PancreasCT", tmp_path / "download")


def test_pancreas_ct_may_be_nifti(tmp_path, nnunet_folders):
    """Labels whose headers say nothing true are flipped as the HU say, whatever the order of the images' axes."""
    replica = replicas.pancreas_ct(tmp_path / "download")
    labels = tmp_path / "nifti/TCIA_pancreas_labels-02-05-2017"
    (tmp_path / "nifti").mkdir()
    (tmp_path / "download/TCIA_pancreas_labels-02-05-2017").rename(labels)
    for case, truth in replica.cases.items():
        write_nifti(tmp_path / f"nifti/PANCREAS_{case.rpartition('_')[2]}.nii.gz", truth.image, "LAS")
    (labels / "label0025.nii.gz").unlink()
    outcome = converted("PancreasCT", tmp_path / "nifti")
    for case, truth in replica.cases.items():
        assert np.array_equal(voxels(outcome.folder / f"labelsTr/{case}.nii.gz") == 1, truth.masks["pancreas"])


def test_headers_of_nifti_copies_that_agree_are_believed_unless_the_hu_speak_against_them(tmp_path, nnunet_folders):
    truths = {case: make_truth(["pancreas"], int(case)) for case in ("0001", "0002")}
    for case, truth in truths.items():
        write_nifti(tmp_path / f"tree/PANCREAS_{case}.nii.gz", truth.image, "LAS")
        label = label_of(truth, {1: "pancreas"})
        write_nifti(tmp_path / f"tree/label{case}.nii.gz", label if case == "0001" else label[:, :, ::-1], "LAS")
    outcome = converted("PancreasCT", tmp_path / "tree")
    for case, truth in truths.items():
        assert np.array_equal(voxels(outcome.folder / f"labelsTr/PancreasCT_{case}.nii.gz") == 1, truth.masks["pancreas"])
    assert outcome.notes == {"PancreasCT_0002": ("label flipped along z, where its voxels have fitting HU",)}


def test_header_tells_which_of_two_flips_is_right_that_fit_alike(tmp_path, nnunet_folders):
    replica = replicas.pancreas_ct(tmp_path / "download")
    bright = np.full(SHAPE, 60, np.int16)
    for path in (tmp_path / "download").rglob("PANCREAS_00*"):
        for file in path.rglob("*.dcm"):
            file.unlink()
    replicas.write_dicom(tmp_path / "download/PANCREAS_0001/1/2", bright)
    for case in ("0002", "0025", "0082"):
        (tmp_path / f"download/TCIA_pancreas_labels-02-05-2017/label{case}.nii.gz").unlink()
    for path in (tmp_path / "download").rglob("PANCREAS_0082/**/*.dcm"):
        path.unlink()
    mask = replica.cases["PancreasCT_0001"].masks["pancreas"]
    label = tmp_path / "download/TCIA_pancreas_labels-02-05-2017/label0001.nii.gz"
    write_nifti(label, mask.astype(np.uint8), "LAS")
    outcome = converted("PancreasCT", tmp_path / "download")
    assert np.array_equal(voxels(outcome.folder / "labelsTr/PancreasCT_0001.nii.gz") == 1, mask)
    assert "that which its header says was taken" in outcome.notes["PancreasCT_0001"][0]


@pytest.mark.parametrize("columns", [slice(None), slice(1, None)])
def test_cropping_table_is_read_as_it_is_and_without_its_first_column(columns, tmp_path, nnunet_folders):
    replica = replicas.btcv_multiorgan(tmp_path / "download")
    replicas.cropping(replica.folder, {"0001": (0, 1)}, {"0001": (2, 15), "0061": (0, SHAPE[2])}, columns)
    outcome = converted("BTCV_MultiOrgan", replica.folder)
    for case, truth in replica.cases.items():
        assert np.array_equal(voxels(outcome.folder / f"labelsTr/{case}.nii.gz") == 15, truth.ignored)


def test_multiorgan_labels_without_cropping_table_teach_no_background(tmp_path, nnunet_folders):
    truth = make_truth(["spleen", "left_kidney"], 1)
    root = tmp_path / "02_TCIA_Pancreas-CT"
    write_nifti(root / "img/PANCREAS_0002.nii.gz", truth.image, "LAS")
    write_nifti(root / "multiorgan_label/label0002.nii.gz", label_of(truth, {1: "spleen", 3: "left_kidney"}), "LAS")
    outcome = converted("PancreasCT_MultiOrgan", root)
    label = voxels(outcome.folder / "labelsTr/PancreasCT_MultiOrgan_0002.nii.gz")
    assert np.array_equal(label == 9, ~truth.masks["spleen"] & ~truth.masks["left_kidney"])  # 9 is the ignore label
    assert "cropping.csv is missing, so all background is ignored" in outcome.notes["PancreasCT_MultiOrgan_0002"][0]


@pytest.mark.parametrize(
    "build, name, other",
    [
        (replicas.recent_replicas.abdomen_atlas_1_1_mini, "AbdomenAtlas1_0Mini", "AbdomenAtlas1_1Mini"),
        (replicas.recent_replicas.abdomen_atlas_1_0_mini, "AbdomenAtlas1_1Mini", "AbdomenAtlas1_0Mini"),
    ],
)
def test_release_of_abdomen_atlas_is_recognised(build, name, other, tmp_path, nnunet_folders):
    build(tmp_path / "download")
    with pytest.raises(Exception, match=f"those of another release; `cdpd convert {other}`"):
        converted(name, tmp_path / "download")
