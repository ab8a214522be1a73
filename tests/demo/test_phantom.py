"""The phantom: what makes it a stand-in for CT, beyond that its structures are there (test_demo.py)."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, distance_transform_edt

from nnunetv2_cdpd.demo.datasets import DEMO_SOURCES
from nnunetv2_cdpd.demo.phantom import ORGANS, SOFT_HU, make_patient

SCANNER = DEMO_SOURCES[0].scanner
PATIENTS = [make_patient(source.scanner, seed, tumor_probability=1.0) for source in DEMO_SOURCES for seed in (11, 12, 14)]
STRUCTURES = [organ.name for organ in ORGANS]
TUMORS = [organ.name for organ in ORGANS if organ.inside]


def world_centre(patient, name):
    """Centre of a structure in mm: (to the patient's left, to the back, to the head)."""
    steps = np.array(patient.direction).reshape(3, 3) * np.array(patient.spacing)
    return np.array(patient.origin) + steps @ np.argwhere(patient.masks[name]).mean(0)[::-1]


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_are_wide_enough_for_a_network_at_six_millimetres(name):
    for patient in PATIENTS:
        depth = distance_transform_edt(patient.masks[name], patient.spacing[::-1]).max()
        assert depth > 10  # mm; more than three voxels across


@pytest.mark.parametrize("name", STRUCTURES)
def test_no_structure_is_told_by_its_intensity_alone(name):
    """Of the voxels with a structure's own intensities, many lie outside of it."""
    inside = outside = 0
    for patient in PATIENTS:
        mask = patient.masks[name]
        low, high = np.percentile(patient.hu[mask], (5, 95))
        alike = (patient.hu >= low) & (patient.hu <= high)
        inside, outside = inside + (alike & mask).sum(), outside + (alike & ~mask).sum()
    assert outside > 0.3 * inside


def test_structures_vary_in_size_and_place():
    for name in STRUCTURES:
        volumes = [patient.masks[name].sum() * np.prod(patient.spacing) for patient in PATIENTS]
        assert max(volumes) > 1.1 * min(volumes)
        centres = np.array([world_centre(patient, name) for patient in PATIENTS])
        assert np.linalg.norm(np.ptp(centres, axis=0)) > 10  # mm


def test_anatomy_lies_as_in_a_patient_on_the_back_whatever_the_grid():
    for patient in PATIENTS:
        assert world_centre(patient, "liver")[0] < world_centre(patient, "spleen")[0]  # right, left
        assert world_centre(patient, "bladder")[2] < world_centre(patient, "left_kidney")[2] < world_centre(patient, "spleen")[2]
        assert world_centre(patient, "stomach")[1] < world_centre(patient, "aorta")[1]  # front, back


@pytest.mark.parametrize(
    "pair", [("liver", "stomach"), ("stomach", "spleen"), ("liver", "right_kidney"), ("spleen", "left_kidney")]
)
def test_organs_touch_in_some_patients(pair):
    one, other = pair
    assert any((binary_dilation(patient.masks[one]) & patient.masks[other]).any() for patient in PATIENTS)


def test_background_holds_air_lung_fat_soft_tissue_and_bone():
    for patient in PATIENTS:
        body = patient.hu > -950
        unlabelled = patient.hu[body & ~np.any(list(patient.masks.values()), axis=0)]
        for low, high in ((-900, -600), (-140, -60), (0, 80), (230, 600)):
            assert ((unlabelled > low) & (unlabelled < high)).mean() > 0.01


def test_kidney_tumors_lie_in_either_kidney_and_some_patients_have_none():
    patients = [make_patient(SCANNER, seed, tumor_probability=0.7, tumor_place=seed) for seed in range(12)]
    sides = {
        side: sum("kidney_tumor" in p.masks and (p.masks["kidney_tumor"] <= p.masks[f"{side}_kidney"]).all() for p in patients)
        for side in ("left", "right")
    }
    assert min(sides.values()) > 2 and sum(sides.values()) < len(patients)
    assert not set(TUMORS) & set(make_patient(SCANNER, 0, tumor_probability=0).masks)


def test_sources_look_different():
    """The same patient in each scanner: noise, sharpness and enhancement are the scanner's."""
    patients = []
    for source in DEMO_SOURCES:
        scanner = replace(source.scanner, spacing_mm=SCANNER.spacing_mm)
        patients.append(make_patient(scanner, 5, tumor_probability=0))
    assert all(np.array_equal(patient.masks["liver"], patients[0].masks["liver"]) for patient in patients)
    noise = [np.diff(p.hu[distance_transform_edt(p.masks["liver"]) > 3].astype(float)).std() for p in patients]
    assert np.argsort(noise).tolist() == np.argsort([source.scanner.noise_hu for source in DEMO_SOURCES]).tolist()
    cores = [
        distance_transform_edt(p.masks["left_kidney"], p.spacing[::-1]) > 10 for p in patients
    ]  # mm; away from blurred borders
    kidney = next(organ for organ in ORGANS if organ.name == "left_kidney")
    for source, patient, core in zip(DEMO_SOURCES, patients, cores):
        enhancement = (patient.hu[core].mean() - SOFT_HU) / (kidney.hu - SOFT_HU)
        low, high = source.scanner.contrast
        assert low - 0.05 < enhancement < high + 0.05
    assert len({source.scanner.contrast for source in DEMO_SOURCES}) == len(DEMO_SOURCES)
