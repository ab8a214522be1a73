"""audit_datasets and `cdpd audit`: phantoms with one thing wrong each, and what the audit says about them."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from builders.audit import ORGANS, changed, image_of, label_of, mirrored, patient, phantoms, with_geometry, write_dataset
from builders.pages import disagreeing_columns

from nnunetv2_cdpd.audit.audit import audit_datasets
from nnunetv2_cdpd.audit.label_facts import label_facts
from nnunetv2_cdpd.audit.statistics import outliers
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge import merge_datasets


def audit(raw, *datasets, **options):
    messages = []
    found = audit_datasets(datasets, raw.parent / "out", num_processes=1, progress=False, report=messages.append, **options)
    return found, json.loads((raw.parent / "out/audit.json").read_text()), "\n".join(messages)


def findings(found, kind):
    return {(finding.case, finding.name): finding.text for finding in found.findings if finding.kind == kind}


def wrong(number, image=None, label=None):
    """One case of a phantom, image and label changed."""
    return (image or (lambda its: its))(image_of(number)), (label or (lambda its: its))(label_of(number))


def test_good_datasets_have_no_findings_and_no_pairs(raw):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3))
    found, content, text = audit(raw, 501)
    assert found.findings == [] and found.pairs == [] and content["findings"] == []
    assert "cases: 3, findings: 0" in text and "pairs of the same scan: 0, groups of them: 0" in text
    page = (raw.parent / "out/audit.html").read_text()
    assert '<h2 id="findings">Findings</h2>\n<p>None.</p>' in page and "No pair was found." in page


def test_volumes_and_geometry_are_those_of_the_cases(raw):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3))
    found, content, _ = audit(raw, 501)
    ml = sorted(patient(n).masks["liver"].sum() * np.prod(patient(n).spacing) / 1000 for n in (1, 2, 3))
    (liver,) = (row for row in content["classes"] if row["class"] == "liver")
    assert (liver["dataset"], liver["source"], liver["cases"], liver["present"]) == ("Dataset501_A", "A", 3, 3)
    np.testing.assert_allclose([liver[f"{which}_ml"] for which in ("smallest", "median", "largest")], ml, rtol=1e-4)
    (geometry,) = found.geometry
    sizes = np.array([case.fingerprint.facts.size for case in found.cases])
    np.testing.assert_allclose(geometry.size, np.stack([sizes.min(0), np.median(sizes, 0), sizes.max(0)], 1))
    assert sum(geometry.orientations.values()) == 3
    assert content["cases"]["Dataset501_A/p1"]["compared"] is True


def test_intensities_that_are_no_hu_are_named_for_ct_only(raw):
    cases = {
        "offset": wrong(1, lambda image: image + 1024),
        "scaled": wrong(2, lambda image: sitk.Cast(image, sitk.sitkFloat32) / 3000),
        "clipped": wrong(3, lambda image: sitk.Clamp(image, lowerBound=-200, upperBound=2000)),
        "dim": wrong(4, lambda image: sitk.Clamp(image, lowerBound=-1024, upperBound=200)),
        "flat": wrong(5, lambda image: image * 0),
        "good": wrong(6),
    }
    write_dataset(raw / "Dataset501_A", cases)
    found, _, _ = audit(raw, 501)
    texts = findings(found, "intensities")
    expected = {
        "offset": "an offset or another unit",
        "scaled": "are no HU but scaled",
        "clipped": "no voxel is below -200, in HU air is -1000: clipped",
        "dim": "no voxel is above 200, in HU bone is brighter: clipped",
        "flat": "all voxels are 0",
        "": "in 5 of 6 cases: the source or its conversion rather than a case",
    }
    assert {case for case, _ in texts} == set(expected)
    assert all(expected[case] in text for (case, _), text in texts.items())
    write_dataset(raw / "Dataset502_MR", cases, channel="T2")
    assert not findings(audit(raw, 502)[0], "intensities")


def test_structures_on_the_wrong_side_are_named_by_the_geometry_of_the_image(raw):
    sides = {"right_kidney": 2, "left_kidney": 3}
    cases = {
        "swapped": (image_of(1), label_of(1, liver=1, right_kidney=3, left_kidney=2)),
        "alone": (image_of(2), label_of(2, liver=1, left_kidney=2)),
        "right": wrong(3),
        "one": (image_of(4), label_of(4, liver=1, left_kidney=3)),
        "header": tuple(mirrored(sitk.DICOMOrient(image, "LPS"), 2) for image in wrong(5)),
    }
    write_dataset(raw / "Dataset501_A", cases, {"liver": 1, **sides})
    texts = findings(audit(raw, 501)[0], "left and right")
    assert {case for case, _ in texts} == {"swapped", "alone", "header", ""}
    assert (
        "right_kidney lies" in texts["swapped", "right_kidney"]
        and "to the patient's left than left_kidney" in texts["header", "right_kidney"]
    )
    assert "to the left of the middle of the patient's body" in texts["alone", "right_kidney"]


def test_findings_of_a_case_are_in_the_order_of_its_classes(raw):
    masks = {"right_kidney": 1, "left_kidney": 2, "liver": 3, "spleen": 4}
    names = {"left_zone": 1, "right_part": 2, "left_bit": 3, "right_area": 4}  # each on the other side
    write_dataset(raw / "Dataset501_A", {"c": (image_of(1), label_of(1, **masks))}, names)
    found = audit(raw, 501)[0].findings
    assert [finding.name for finding in found if finding.kind == "left and right"] == list(names)


def test_empty_and_undeclared_labels_are_named(raw):
    cases = {
        "empty": wrong(1, label=lambda label: label * 0),
        "unknown": wrong(2, label=lambda label: label + 40 * sitk.Cast(label == 1, sitk.sitkUInt8)),
        "ignored": (image_of(3), label_of(3, liver=4)),
    }
    write_dataset(raw / "Dataset501_A", cases, {**ORGANS, "ignore": 4})
    found, _, _ = audit(raw, 501)
    assert findings(found, "empty") == {
        ("empty", ""): "nothing is labelled",
        ("ignored", ""): "none of the classes that the source annotates is labelled",
    }
    assert findings(found, "values") == {("unknown", ""): "the label holds 41, which dataset.json does not declare"}
    assert findings(found, "never there") == {("", "liver"): "in none of 3 cases"}


def moved(image, mm):
    image.SetOrigin([place + mm for place in image.GetOrigin()])
    return image


def test_geometry_that_looks_lost_or_does_not_fit_is_named(raw):
    def lost(image):
        return with_geometry(sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS"))[:, :60, :60], (1.0, 1.0, 1.0))

    def turned(image):
        angle = np.radians(20)
        direction = (np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1)
        return with_geometry(sitk.GetArrayFromImage(image), (4.0, 4.0, 5.0), direction=direction)

    def oblong(image):
        return with_geometry(sitk.GetArrayFromImage(image), (4.0, 4.4, 5.0))

    cases = {"lost": wrong(1, lost, lost), "turned": wrong(2, turned, turned), "oblong": wrong(3, oblong, oblong)}
    cases["apart"] = wrong(4, label=lambda label: label[:, :, 1:])
    cases["moved"] = wrong(5, label=lambda label: moved(label, 0.1))
    cases["flipped"] = wrong(6, label=lambda label: sitk.DICOMOrient(label, "RAS"))
    cases["rounded"] = wrong(7, label=lambda label: moved(label, 0.001))
    write_dataset(raw / "Dataset501_A", cases)
    texts = findings(audit(raw, 501)[0], "geometry")
    assert texts["lost", ""] == "spacing is exactly 1 x 1 x 1 mm, as where the true one was lost"
    assert "turned by 20.0 degrees" in texts["turned", ""]
    assert "axial pixels are not square: 4 x 4.4 mm" in texts["oblong", ""]
    for case in ("apart", "moved", "flipped"):
        assert texts[case, ""] == "image and label do not lie on one grid"
    assert ("rounded", "") not in texts


def test_volumes_far_from_the_others_are_outliers_where_there_are_enough():
    usual = {f"c{k}": 100.0 + k for k in range(9)}
    assert outliers(usual) == ()
    assert outliers({**usual, "small": 20.0, "large": 1000.0}) == ("large", "small")
    assert outliers({**usual, "near": 170.0}) == ()  # less than twice the median
    assert outliers({"a": 1.0, "b": 1.0, "far": 1000.0}) == ()


def test_outliers_become_findings(raw):
    cases = {f"c{k}": (image_of(1), label_of(1)) for k in range(7)}
    cases["small"] = wrong(1, label=lambda label: changed(label, lambda array: np.where(np.arange(array.shape[2]) % 3, 0, array)))
    write_dataset(raw / "Dataset501_A", cases)
    texts = findings(audit(raw, 501)[0], "volume")
    assert {case for case, _ in texts} == {"small"} and "times less than the median" in texts["small", "liver"]


def test_the_same_scan_in_two_datasets_is_a_pair_with_pictures(raw):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3))
    copy = sitk.DICOMOrient(image_of(2), "LPS"), sitk.DICOMOrient(label_of(2), "LPS")
    write_dataset(raw / "Dataset502_B", {**phantoms(4), "copy": tuple(mirrored(image, 2) for image in copy)})
    _, content, text = audit(raw, 501, 502)
    (pair,) = content["duplicates"]["pairs"]
    assert (pair["first"], pair["second"], pair["mirrored"]) == ("Dataset501_A/p2", "Dataset502_B/copy", "left and right")
    assert pair["score"] > 0.8 and content["duplicates"]["groups"] == [["Dataset501_A/p2", "Dataset502_B/copy"]]
    assert "Dataset501_A/p2 = Dataset502_B/copy" in text
    page = (raw.parent / "out/audit.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 6  # three planes of both
    assert str(raw) not in page and "://" not in page.replace("http://www.w3.org", "")
    assert page.count('<th scope="col" class="words">') == 4 + 3 + 2 + 2 and disagreeing_columns(page) == []
    assert not audit(raw, 501, 502, num_pictures=0)[0].listing and "<img" not in (raw.parent / "out/audit.html").read_text()
    assert audit(raw, 501, 502, min_score=0.999)[0].pairs == []


def test_a_merged_dataset_is_audited_by_source_and_its_images_are_no_pairs(raw):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2))
    write_dataset(raw / "Dataset502_B", {"b": (image_of(3), label_of(3, right_kidney=1, left_kidney=1))}, {"kidney": 1})
    merge_datasets([501, 502], 510, "M", num_processes=1, progress=False, report=lambda text: None)
    found, content, _ = audit(raw, 501, 502, 510)
    assert found.pairs == [] and found.findings == []
    rows = {(row["dataset"], row["source"], row["class"]) for row in content["classes"]}
    assert ("Dataset510_M", "A", "left_kidney") in rows and ("Dataset510_M", "B", "kidney") in rows


def test_files_that_cannot_be_read_stop_no_other_case(raw):
    folder = write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3))
    (folder / "imagesTr/p1_0000.nii.gz").write_bytes(b"no image")
    (folder / "labelsTr/p2.nii.gz").unlink()
    sitk.WriteImage(sitk.Cast(label_of(3), sitk.sitkFloat32) / 2, str(folder / "labelsTr/p3.nii.gz"))
    found, content, _ = audit(raw, 501)
    texts = findings(found, "file")
    assert list(texts) == [("p1", ""), ("p2", ""), ("p3", "")]
    assert "p1_0000.nii.gz is damaged" in texts["p1", ""]
    assert texts["p2", ""].startswith(f"{folder}/labelsTr/p2.nii.gz: no such file")
    assert "labelsTr/p3.nii.gz holds values that are no integers" in texts["p3", ""]
    assert content["cases"]["Dataset501_A/p1"]["image"] is None
    assert "No pictures" not in (raw.parent / "out/audit.html").read_text()  # such cases are listed, not shown


def test_torn_files_and_headers_that_nnunet_reads_otherwise_are_found(raw):
    folder = write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3))
    for path in (folder / "imagesTr/p1_0000.nii.gz", folder / "labelsTr/p2.nii.gz"):
        path.write_bytes(path.read_bytes()[:-50])
    image = nibabel.load(folder / "labelsTr/p3.nii.gz")
    image.header.set_xyzt_units("meter")
    nibabel.save(image, folder / "labelsTr/p3.nii.gz")
    found = audit(raw, 501)[0]
    texts = findings(found, "file")
    assert list(found.unread) == ["Dataset501_A/p1", "Dataset501_A/p2"]
    assert list(texts) == [("p1", ""), ("p2", ""), ("p3", "")]
    assert "p1_0000.nii.gz is damaged" in texts["p1", ""] and "labelsTr/p2.nii.gz is damaged" in texts["p2", ""]
    assert "labelsTr/p3.nii.gz: its header counts in meters" in texts["p3", ""]


def test_label_of_several_channels_is_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 2), np.uint8), isVector=True), str(tmp_path / "l.nii.gz"))
    with pytest.raises(UserError, match="l.nii.gz holds 6 x 5 x 4 x 1 x 2 values, not one volume"):
        label_facts(tmp_path / "l.nii.gz")


def test_centres_are_in_the_patients_space(tmp_path):
    array = np.zeros((4, 5, 6), np.uint8)
    array[1, 2, 3], array[1, 2, 5], array[3, 0, 0] = 7, 7, 2
    image = with_geometry(array, (2.0, 3.0, 4.0), (10.0, 20.0, 30.0), (-1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "l.nrrd"))
    facts = label_facts(tmp_path / "l.nrrd")
    assert facts.values[7].ml == pytest.approx(2 * 24 / 1000)
    assert facts.values[7].centre == pytest.approx((10 - 2 * 4, 20 + 3 * 2, 30 + 4 * 1))
    both = facts.of([7, 2, 9])
    assert both.ml == pytest.approx(3 * 24 / 1000) and both.centre[2] == pytest.approx((34 + 34 + 42) / 3)
    assert facts.of([9]) is None and facts.size == (6, 5, 4) and facts.spacing == (2.0, 3.0, 4.0)


@pytest.mark.parametrize("name", ["l.nii.gz", "l.png"])
def test_labels_are_integers_as_a_merge_takes_them(name, tmp_path):
    array = np.zeros((1, 20, 30))
    array[0, 4:8, 10:20] = 2
    if name == "l.png":
        sitk.WriteImage(sitk.GetImageFromArray(array[0].astype(np.uint8)), str(tmp_path / name))
    else:  # as some writers scale masks
        nibabel.save(nibabel.Nifti1Image(array.T * 1.0000000591, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / name)
    facts = label_facts(tmp_path / name)
    assert list(facts.values) == [2] and facts.values[2].ml == pytest.approx(40 / 1000)
    assert facts.values[2].centre == pytest.approx((14.5, 5.5, 0))
    array[0, 0, 0] = 1.5
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), tmp_path / "l.nii")
    with pytest.raises(UserError, match=r"l.nii holds values that are no integers \(1.5\)"):
        label_facts(tmp_path / "l.nii")


def test_datasets_that_cannot_be_audited_are_named(raw):
    folder = write_dataset(raw / "Dataset501_A", phantoms(1))
    with pytest.raises(UserError, match="Dataset501_A: given twice"):
        audit(raw, 501, folder)
    twin = write_dataset(raw / "elsewhere" / "Dataset501_A", phantoms(2))
    with pytest.raises(UserError, match="told apart by the names of folders"):
        audit(raw, folder, twin)
    with pytest.raises(UserError, match="no dataset has this id, 777"):
        audit(raw, 777)
    for path in (folder / "imagesTr/p1_0000.nii.gz", folder / "labelsTr/p1.nii.gz"):
        path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="none of 1 cases could be read; case 'Dataset501_A/p1': .*p1_0000.nii.gz is damaged"):
        audit(raw, 501)


@pytest.mark.parametrize("name", ["audit.json", "audit.html"])
def test_results_of_others_are_never_replaced(name, raw, tmp_path):
    (tmp_path / name).write_text('{"findings": 3}')
    with pytest.raises(UserError, match=f"{name}: nothing says that this command made it"):
        audit_datasets([raw / "x"], tmp_path)
    assert (tmp_path / name).read_text() == '{"findings": 3}'


def test_command_writes_both_files_where_it_is_told(raw, tmp_path, capsys):
    folder = write_dataset(raw / "Dataset501_A", phantoms(1, 2))
    assert main(["audit", str(folder), "-o", str(tmp_path / "there"), "-np", "1", "--min-score", "0.7"]) == 0
    assert json.loads((tmp_path / "there/audit.json").read_text())["duplicates"]["min_score"] == 0.7
    assert (tmp_path / "there/audit.html").is_file() and "cases: 2, findings: 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option", [{"min_score": 2}, {"min_score": float("nan")}, {"min_score": 0}, {"num_pictures": -1}, {"num_processes": 0}]
)
def test_impossible_numbers_are_refused(option, tmp_path):
    with pytest.raises(UserError, match=f"argument {next(iter(option))} .*: give "):
        audit_datasets([tmp_path / "x"], tmp_path, **option)


def test_a_torn_further_channel_is_found_and_ends_the_command_with_1(raw, tmp_path, capsys):
    folder = write_dataset(raw / "Dataset501_A", phantoms(1, 2), channel_names={"0": "CT", "1": "PET"})
    for case in ("p1", "p2"):
        (folder / f"imagesTr/{case}_0001.nii.gz").write_bytes((folder / f"imagesTr/{case}_0000.nii.gz").read_bytes())
    torn = folder / "imagesTr/p2_0001.nii.gz"
    torn.write_bytes(torn.read_bytes()[:-50])
    assert main(["audit", "501", "-o", str(tmp_path / "out"), "-np", "1"]) == 1
    assert f"case 'Dataset501_A/p2': {torn} is damaged" in capsys.readouterr().err
