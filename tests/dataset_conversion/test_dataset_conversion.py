"""Every public dataset: a replica of its layout is converted and compared voxel by voxel with what it was made from."""

import json

import nibabel
import numpy as np
import pytest
from builders import replicas as dataset_replicas
from builders.replica_files import AFFINE, SHAPE
from builders.replicas import REPLICAS

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.conversion.registry import public_dataset, public_datasets
from nnunetv2_cdpd.conversion.run import convert
from nnunetv2_cdpd.errors import UserError


def converted(replica, **kwargs):
    return convert(
        public_dataset(replica.name), replica.folder, num_processes=1, progress=False, report=lambda text: None, **kwargs
    )


def canonical(path):
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asanyarray(image.dataobj), image.affine


@pytest.mark.parametrize("build", REPLICAS, ids=lambda build: build.__name__)
def test_converted_dataset_holds_the_voxels_that_its_replica_was_made_from(build, tmp_path, nnunet_folders):
    replica = build(tmp_path / "download")
    outcome = converted(replica)
    assert (outcome.failed, outcome.complete) == ({}, True)
    assert set(outcome.done) == set(replica.cases) and set(outcome.skipped) == replica.skipped
    dataset_json = json.loads((outcome.folder / "dataset.json").read_text())
    annotation = read_annotation(dataset_json)
    assert dataset_json["channel_names"] == {"0": "CT"} and dataset_json["numTraining"] == len(replica.cases)
    assert sorted(path.name for path in outcome.folder.iterdir()) == [
        "cdpd_convert_record.jsonl", "dataset.json", "imagesTr", "labelsTr"
    ]  # fmt: skip
    for case, truth in replica.cases.items():
        image, image_affine = canonical(outcome.folder / f"imagesTr/{case}_0000.nii.gz")
        label, label_affine = canonical(outcome.folder / f"labelsTr/{case}.nii.gz")
        assert image.shape == label.shape == SHAPE and np.issubdtype(label.dtype, np.integer)
        assert np.array_equal(image, truth.image)
        np.testing.assert_allclose(image_affine, AFFINE, atol=1e-4)
        np.testing.assert_allclose(label_affine, image_affine, atol=1e-6)
        named = set()
        for name, region in zip(annotation.classes, annotation.regions):
            expected = replica.region(case, name)
            assert np.array_equal(np.isin(label, region), expected), name
            named.add(name)
        assert set(truth.masks) <= named
        if truth.ignored is not None:
            assert np.array_equal(label == annotation.ignore_value, truth.ignored)
        if truth.source is not None:
            assert annotation.sources[annotation.source_index(case)].name == truth.source


def test_every_public_dataset_has_a_replica():
    assert len(REPLICAS) == len(public_datasets())


@pytest.mark.parametrize("name", public_datasets())
def test_declaration_is_complete(name):
    dataset = public_dataset(name)
    for fact in ("title", "region", "license", "link", "reference", "size", "layout"):
        assert getattr(dataset, fact).strip(), fact
    assert dataset.num_cases > 0
    assert all({*names} <= {*dataset.structures, *dataset.unions} for names in dataset.annotated_by_source.values())


def test_the_two_label_sets_of_gibson_are_sources_of_14_and_8_structures():
    sources = public_dataset("BTCV_MultiOrgan").annotated_by_source
    assert sorted(map(len, sources.values())) == [8, 14]
    assert len(public_dataset("PancreasCT_MultiOrgan").structures) == 8
    assert "right_kidney" not in public_dataset("PancreasCT_MultiOrgan").structures


@pytest.mark.parametrize("name, count", [("TotalSegmentator_v1", 104), ("totalsegmentator", 117), ("totalsegmentator-v3", 117)])
def test_every_release_of_totalsegmentator_has_its_structures(name, count):
    assert len(public_dataset(name).values) == len(public_dataset(name).structures) == count


# ---- layouts that look alike ------------------------------------------------------------------------------------------


def refused(build, spoil, tmp_path, name=None):
    """What `convert` says to a spoiled replica, before any work."""
    replica = build(tmp_path / "download")
    spoil(tmp_path / "download")
    replica.name = name or replica.name
    with pytest.raises(UserError) as caught:
        converted(replica)
    assert "expected:" in str(caught.value) and not list((tmp_path / "nnUNet_raw").iterdir())
    return str(caught.value)


def nothing(folder):
    pass


@pytest.mark.parametrize(
    "build, name, words",
    [
        (dataset_replicas.kits23, "KITS19", "use KITS21 or KITS23"),
        (dataset_replicas.kits21, "KITS23", "no label found"),
        (dataset_replicas.kits19, "KITS23", "no label for the image of 00210"),
        (dataset_replicas.flare22, "AbdomenCT12organ", "no image found (Organ12_{case}_0000.nii.gz)"),
        (dataset_replicas.abdomen_ct_12organ, "FLARE22", "no image found (FLARE22_Tr_{case}_0000.nii.gz)"),
        (dataset_replicas.ct_org, "LiTS", "no image found"),
        (dataset_replicas.msd_liver, "MSD_Spleen", "no image found"),
    ],
)
def test_another_collection_is_recognised(build, name, words, tmp_path, nnunet_folders):
    assert words in refused(build, nothing, tmp_path, name)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda f: (f / "cropping.csv").unlink(), "cropping.csv is missing"),
        (lambda f: (f / "cropping.csv").write_text("a,b\n" + "1,2\n" * 50), "line 2 has 2 fields, 10 are expected"),
        (
            lambda f: dataset_replicas.cropping(f, {}, {"0001": ("x", 9)}),
            "cannot be read (could not convert string to float: 'x')",
        ),
        (lambda f: dataset_replicas.cropping(f, {}, {"0001": (0, 9)}), "has no row for case 0061"),
    ],
)
def test_cropping_table_has_to_be_whole(spoil, words, tmp_path, nnunet_folders):
    assert words in refused(dataset_replicas.btcv_multiorgan, spoil, tmp_path)


def test_cropping_beyond_the_image_fails_the_case(tmp_path, nnunet_folders):
    replica = dataset_replicas.btcv_multiorgan(tmp_path / "download")
    dataset_replicas.cropping(replica.folder, {}, {"0001": (2, 99), "0061": (0, 18)})
    assert "labelled slices 2 to 99 given, it has 18" in converted(replica).failed["BTCV_MultiOrgan_0001"]


def add_mask(name):
    def add(folder):
        (path,) = folder.rglob("s0000/segmentations/liver.nii.gz")
        path.with_name(f"{name}.nii.gz").write_bytes(path.read_bytes())

    return add


@pytest.mark.parametrize(
    "build, name, words",
    [
        (dataset_replicas.totalsegmentator_v1, "TotalSegmentator", "those of release 1; `cdpd convert TotalSegmentator_v1`"),
        (dataset_replicas.totalsegmentator_v3, "TotalSegmentator", "those of release 3; `cdpd convert TotalSegmentator_v3`"),
        (dataset_replicas.totalsegmentator, "TotalSegmentator_v1", "those of release 2; `cdpd convert TotalSegmentator`"),
        (dataset_replicas.totalsegmentator, "TotalSegmentator_v3", "those of release 2; `cdpd convert TotalSegmentator`"),
    ],
)
def test_release_of_totalsegmentator_is_recognised(build, name, words, tmp_path, nnunet_folders):
    assert words in refused(build, nothing, tmp_path, name)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (add_mask("rectum"), "the masks of no release that is known (rectum)"),
        (add_mask("vertebrae_L6"), "the masks of no release that is known (vertebrae_L6, vertebrae_S1)"),
        (lambda f: [path.unlink() for path in f.rglob("vertebrae_S1.nii.gz")], "the masks of no release that is known"),
        (lambda f: [path.unlink() for path in f.rglob("prostate.nii.gz")], "no case has segmentations/prostate.nii.gz, which"),
        (lambda f: next(f.rglob("meta.csv")).unlink(), "meta.csv is missing"),
        (lambda f: next(f.rglob("meta.csv")).write_text("image_id,gender\n"), "has no column gender and image_id"),
    ],
)
def test_masks_of_no_release_of_totalsegmentator_are_refused(spoil, words, tmp_path, nnunet_folders):
    assert words in refused(dataset_replicas.totalsegmentator, spoil, tmp_path)


def test_missing_mask_of_totalsegmentator_is_told(tmp_path, nnunet_folders):
    replica = dataset_replicas.totalsegmentator(tmp_path / "download")
    assert any("no file for heart" in note for note in converted(replica).notes["TotalSegmentator_s0011"])


def test_flare22_values_in_a_12organ_file_are_refused(tmp_path, nnunet_folders):
    replica = dataset_replicas.abdomen_ct_12organ(tmp_path / "download")
    path = replica.folder / "13_AbdomenCT-12organ/label/Organ12_0001.nii.gz"
    dataset_replicas.write_nifti(path, np.full(SHAPE, 13, np.uint8))
    assert "holds 13, which is not declared" in converted(replica).failed["AbdomenCT12organ_0001"]
