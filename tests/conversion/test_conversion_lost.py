"""Structures that were drawn and of which nothing is on the grid: their absence says nothing."""

import pytest
from builders.clinic import Clinic
from builders.dicom_labels import boxes, in_mm, lps, write_structure_set


@pytest.fixture
def clinic(tmp_path, nnunet_folders):
    return Clinic(tmp_path)


@pytest.mark.parametrize("resumed", [False, True])
def test_what_cannot_be_taken_is_not_annotated_though_it_is_declared_so_in_every_case(clinic, resumed):
    clinic.declare(("nested:", "annotates: [liver, spleen, paired]\nunions: {paired: [liver, left_kidney]}\nnested:"))
    clinic.patient("p1", {"liver": "liver", "left_kidney": "Niere links"})  # a spleen that is not there
    drawn = {}
    for case in ("p2", "p3", "p4"):
        slices, path = clinic.patient(case, {"liver": "liver"})
        masks = {name: lps(mask) for name, mask in clinic.truths[case].masks.items()}
        drawn[case] = slices, path, masks, boxes(slices, masks["spleen"])
    slices, path, masks, spleen = drawn["p2"]
    every_other = [in_mm(slices, [(2, 2, z), (9, 2, z), (9, 9, z), (2, 9, z)]) for z in (2, 4, 6)]
    write_structure_set(path, slices, [("liver", every_other), ("Milz", spleen)])
    slices, path, masks, spleen = drawn["p3"]
    write_structure_set(path, slices, [("liver", boxes(slices, masks["spleen"])), ("Milz", spleen)])
    slices, path, masks, spleen = drawn["p4"]
    point = [in_mm(slices, [(2.2, 2.2, 1), (2.4, 2.2, 1), (2.4, 2.4, 1)])]
    write_structure_set(path, slices, [("liver", boxes(slices, masks["liver"])), ("Milz", spleen)], kinds={"Milz": "OPEN_PLANAR"})
    write_structure_set(path.with_name("more.dcm"), slices, [("Niere links", point)])
    outcome = clinic.convert()
    if resumed:
        (outcome.folder / "dataset.json").unlink()
        outcome = clinic.convert()
        assert len(outcome.before) == 4
    assert {case: annotated for case, (_, annotated) in clinic.annotated(outcome).items()} == {
        "p1": {"liver", "left_kidney", "spleen", "paired"},
        "p2": {"spleen"},
        "p3": {"spleen"},
        "p4": {"liver"},
    }


def test_a_case_that_lost_all_that_is_annotated_in_every_case_is_left_out(clinic):
    clinic.declare(("nested:", "annotates: [liver]\nnested:"))
    clinic.patient("p1", {})
    slices, path = clinic.patient("p2", {"liver": "liver"})
    write_structure_set(
        path, slices, [("liver", boxes(slices, lps(clinic.truths["p2"].masks["liver"])))], kinds={"liver": "POINT"}
    )
    outcome = clinic.convert()
    assert outcome.complete and list(outcome.done) == ["CLINIC_p1"] and list(outcome.skipped) == ["CLINIC_p2"]


def test_what_is_filled_by_what_is_nested_in_it_is_annotated(clinic):
    clinic.declare(("nested:", "annotates: [liver, liver_tumor]\nnested:"))
    slices, path = clinic.patient("p1", {"liver": "liver"})
    lines = boxes(slices, lps(clinic.truths["p1"].masks["liver"]))
    write_structure_set(path, slices, [("liver", lines), ("GTV", lines)])
    outcome = clinic.convert()
    assert clinic.annotated(outcome)["p1"][1] == {"liver", "liver_tumor"}
    assert outcome.notes["CLINIC_p1"] == ("liver is filled by what is nested in it",)
