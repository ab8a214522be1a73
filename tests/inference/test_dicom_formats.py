"""`cdpd predict --format`: DICOM out for DICOM in, several formats at once, resumed one by one."""

import json
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from builders.derived_objects import inside, read_segments
from builders.dicom_predictions import geometry_of, write_kinds
from builders.prediction import digests, predict, read
from builders.source_series import write_series

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.classes import CLASS_TABLE
from nnunetv2_cdpd.cli.terminal import LIBRARY_WARNINGS
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.dicom_files import DicomFiles
from nnunetv2_cdpd.inference.formats import DICOM_ENDINGS, FORMATS
from nnunetv2_cdpd.inference.inputs import as_case, opened
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.pages.palette import Palette
from nnunetv2_cdpd.volumes.dicom import SourceSlices
from nnunetv2_cdpd.volumes.grid import Grid

KINDS = ("plain", "tilted", "frames")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return write_kinds(tmp_path_factory.mktemp("series"), *KINDS)


@pytest.fixture(scope="module")
def done(series, model, tmp_path_factory):
    """Predictions of all formats of a series of each kind."""
    return predict(series, tmp_path_factory.mktemp("out") / "all", model, "--format", *FORMATS, "-npp", "2", "-nps", "2")


def source_of_kind(series, kind):
    return SourceSlices.read(sorted((series / kind).iterdir()), "CT")


def on_slices(path, series, kind):
    """The label map of a file on the slices of its series."""
    image = sitk.ReadImage(str(path))
    return source_of_kind(series, kind).on_slices(sitk.GetArrayFromImage(image).T, Grid.of_image(image))


def test_every_format_of_every_case_is_there_and_nothing_else(done):
    names = {path.name for path in done.iterdir()} - {"cdpd_predict.json", "dataset.json", "plans.json"}
    assert names == {kind + ending for kind in KINDS for ending in (".nii.gz", *DICOM_ENDINGS.values())}
    assert json.loads((done / "cdpd_predict.json").read_text())["formats"] == list(FORMATS)


@pytest.mark.parametrize("kind", KINDS)
def test_segments_are_the_label_map_on_the_original_slices(kind, done, series):
    expected = on_slices(done / f"{kind}.nii.gz", series, kind)
    assert len(np.unique(expected)) > 2
    values = json.loads((done / "dataset.json").read_text())
    order = [name for name in values["labels"] if name not in ("background", "ignore")]
    value_of = dict(zip(order, values.get("regions_class_order") or [values["labels"][name] for name in order]))
    slices = source_of_kind(series, kind).slices
    assert source_of_kind(series, kind).is_tilted == (kind == "tilted")
    for name in ("dicom-seg", "dicom-labelmap"):
        file, found = read_segments(done / (kind + DICOM_ENDINGS[name]))
        again = np.zeros_like(expected)
        for label, value in value_of.items():
            for index, entry in enumerate(slices):
                again[index][found[label].get((entry.uid, entry.frame + 1), [])] = value
        assert np.array_equal(again, expected)
        assert file.PatientID == "P-17" and file.StudyInstanceUID == pydicom.dcmread(slices[0].path).StudyInstanceUID


def test_objects_say_which_model_made_them_in_the_colours_of_its_pages(done, model):
    file = pydicom.dcmread(done / "plain_rtstruct.dcm")
    names = [item.ROIName for item in file.StructureSetROISequence]
    palette = Palette.of(names)
    colours = ["#" + bytes(map(int, item.ROIDisplayColor)).hex() for item in file.ROIContourSequence]
    assert colours == [palette.colour(name) for name in names]
    assert file.SoftwareVersions == __version__ and model.name in file.ManufacturerModelName
    segmentation = pydicom.dcmread(done / "plain_seg.dcm")
    (made_by,) = segmentation.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ("nnunetv2-cdpd", __version__)
    known = {entry.name for entry in CLASS_TABLE}
    codes = {
        item.SegmentLabel: item.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator
        for item in segmentation.SegmentSequence
    }
    assert {codes[name] for name in known & codes.keys()} == {"SCT"}


def test_a_structure_goes_around_what_lies_in_it(done, series):
    annotated = json.loads((done / "dataset.json").read_text())["labels"]
    labels, source = on_slices(done / "plain.nii.gz", series, "plain"), source_of_kind(series, "plain")
    file = pydicom.dcmread(done / "plain_rtstruct.dcm")
    seen = set()
    for item, contours in zip(file.StructureSetROISequence, file.ROIContourSequence):
        drawn = np.zeros(labels.shape, bool)
        for contour in contours.get("ContourSequence", ()):
            index = source.index_of(np.array(contour.ContourData, float).reshape(-1, 3))
            drawn[round(index[0, 2])] ^= inside(np.round(index[:, :2], 2), labels.shape[1:])
        region = np.atleast_1d(annotated[item.ROIName])
        assert np.array_equal(drawn, np.isin(labels, region)), item.ROIName
        seen.add((len(set(region)) > 1, bool(drawn.any())))
    assert (True, True) in seen


def test_a_missing_format_is_made_again_and_the_others_stay_as_they_are(done, series, model, tmp_path):
    out = shutil.copytree(done, tmp_path / "out")
    (out / "tilted_seg.dcm").unlink()
    before = digests(out)
    predict(series, out, model, "--format", *FORMATS, "--continue_prediction")
    after = digests(out)
    assert {name: digest for name, digest in after.items() if not name.startswith("tilted")} == {
        name: digest for name, digest in before.items() if not name.startswith("tilted")
    }
    assert after["tilted.nii.gz"] == before["tilted.nii.gz"]
    assert on_slices(out / "tilted.nii.gz", series, "tilted").any() and (out / "tilted_seg.dcm").is_file()


def test_a_further_format_is_added_to_finished_predictions(series, model, tmp_path):
    out = predict(series / "plain", tmp_path / "out", model)
    label_map = digests(out)["plain.nii.gz"]
    predict(series / "plain", out, model, "--format", "rtstruct", "--continue_prediction")
    assert digests(out)["plain.nii.gz"] == label_map and (out / "plain_rtstruct.dcm").is_file()
    assert json.loads((out / "cdpd_predict.json").read_text())["formats"] == ["nifti", "rtstruct"]
    # Other settings take all formats of the case away, also those that are not asked for now.
    predict(series / "plain", out, model, "--format", "dicom-seg", "--disable_tta")
    assert not (out / "plain_rtstruct.dcm").exists() and not (out / "plain.nii.gz").exists()
    assert (out / "plain_seg.dcm").is_file()


def test_a_folder_of_before_there_were_formats_is_resumed(series, model, tmp_path):
    out = predict(series / "plain", tmp_path / "out", model)
    settings = json.loads((out / "cdpd_predict.json").read_text())
    del settings["formats"]
    (out / "cdpd_predict.json").write_text(json.dumps(settings))
    before = (out / "plain.nii.gz").stat().st_mtime_ns
    predict(series / "plain", out, model, "--continue_prediction")
    assert (out / "plain.nii.gz").stat().st_mtime_ns == before


def test_what_is_no_dicom_is_told_in_one_line(images, model, tmp_path, capsys):
    predict(images, tmp_path / "out", model, "--format", "nifti", "rtstruct", expect=1)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "case_0_0000.nii.gz: is no DICOM series" in said[0] and "--format" in said[0]
    assert not (tmp_path / "out").exists()
    predict(images / "case_0_0000.nii.gz", tmp_path / "x.dcm", model, "--format", "dicom-seg", expect=1)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "is no DICOM series" in said[0] and not (tmp_path / "x.dcm").exists()


def test_a_series_without_place_or_identifiers_fails_alone(series, model, tmp_path, capsys):
    cases = shutil.copytree(series, tmp_path / "cases")
    for file in (cases / "plain").iterdir():
        header = pydicom.dcmread(file)
        del header.FrameOfReferenceUID
        header.save_as(file)
    for file in sorted((cases / "tilted").iterdir()):
        header = pydicom.dcmread(file)
        del header.ImagePositionPatient
        header.save_as(file)
    out = predict(cases, tmp_path / "out", model, "--format", "nifti", "dicom-seg", expect=1)
    said = capsys.readouterr().err
    assert "has no FrameOfReferenceUID" in said and "ImagePositionPatient is missing" in said
    assert {path.name for path in out.glob("*.*z")} == {"frames.nii.gz"} and (out / "frames_seg.dcm").is_file()
    # A label map alone needs no frame of reference.
    predict(cases / "plain", tmp_path / "nifti", model)
    assert (tmp_path / "nifti" / "plain.nii.gz").is_file()


def test_a_patient_as_hospitals_write_one_is_carried_over_with_no_warning_that_a_user_sees(model, tmp_path, recwarn):
    odd = {"PatientName": "anonymous a=b=c=d", "PatientID": "A" * 90, "PatientSex": "not told", "PatientBirthDate": "1950"}
    write_series(tmp_path / "series", geometry_of("plain"), **odd)
    recwarn.clear()
    predict(tmp_path / "series", tmp_path / "out", model, "--format", "dicom-seg", "rtstruct")
    said = {str(warning.message) for warning in recwarn if "pydicom" in warning.filename}
    assert len(said) > 1 and all(text.startswith(tuple(row.begins for row in LIBRARY_WARNINGS)) for text in said)
    for ending in ("_seg.dcm", "_rtstruct.dcm"):
        file = pydicom.dcmread(tmp_path / "out" / f"series{ending}")
        assert {name: str(file[name].value) for name in odd} == odd


def test_one_file_of_one_format(series, done, model, tmp_path, capsys):
    predict(series / "plain", tmp_path / "plain.dcm", model, "--format", "dicom-seg")
    assert np.array_equal(
        pydicom.dcmread(tmp_path / "plain.dcm").pixel_array, pydicom.dcmread(done / "plain_seg.dcm").pixel_array
    )
    for arguments, told in {
        ("two.dcm", "rtstruct", "dicom-seg"): "cannot be of 2 formats",
        ("x.nii.gz", "dicom-seg"): "format dicom-seg is a .dcm file",
        ("x.dcm", "nifti"): "by --format",
    }.items():
        predict(series / "plain", tmp_path / arguments[0], model, "--format", *arguments[1:], expect=1)
        assert told in capsys.readouterr().err and not (tmp_path / arguments[0]).exists()


def test_masks_need_the_format_that_holds_them(series, model, tmp_path, capsys):
    predict(series / "plain", tmp_path / "out", model, "--format", "dicom-seg", "--one-file-per-class", expect=1)
    assert "--one-file-per-class: masks are of format nifti, which --format leaves out" in capsys.readouterr().err
    out = predict(series / "plain", tmp_path / "out", model, "--format", "nifti", "dicom-seg", "--one-file-per-class")
    assert (out / "plain").is_dir() and (out / "plain_seg.dcm").is_file()


def test_the_library_writes_several_formats_at_once(series, done, model, tmp_path):
    predictor, told = Predictor.from_folder(model, [0], device="cpu"), []
    files = {"nifti": tmp_path / "a.nii.gz", "rtstruct": tmp_path / "a_rt.dcm", "dicom-seg": tmp_path / "a_seg.dcm"}
    prediction = predictor.predict(series / "tilted", output=files)
    assert np.array_equal(read(files["nifti"]), read(done / "tilted.nii.gz")) and prediction.source is not None
    theirs = pydicom.dcmread(done / "tilted_seg.dcm")
    assert np.array_equal(pydicom.dcmread(files["dicom-seg"]).pixel_array, theirs.pixel_array)
    DicomFiles(predictor, told.append).write(tmp_path / "again.dcm", "dicom-labelmap", prediction)
    beside = np.count_nonzero(prediction.label_map) - np.count_nonzero(pydicom.dcmread(tmp_path / "again.dcm").pixel_array)
    assert beside > 0 and told == [f"{series / 'tilted'}: {beside} labelled voxels lie beside the slices, in no DICOM file"]
    assert pydicom.dcmread(tmp_path / "again.dcm").SegmentationType == "LABELMAP"
    plain = predictor.predict(series / "plain")
    with pytest.raises(UserError, match="rtstruct is written of a DICOM series only"):
        DicomFiles(predictor).write(tmp_path / "no.dcm", "rtstruct", plain)
    with pytest.raises(UserError, match="argument formats dicom: no such format; there are nifti, dicom-seg"):
        predictor.predict(series / "plain", output={"dicom": tmp_path / "no.dcm"})


def test_chosen_classes_keep_their_values_and_colours(series, done, model, tmp_path):
    predictor = Predictor.from_folder(model, [0], device="cpu")
    last = predictor.annotation.classes[-1]
    prediction = predictor.predict(series / "plain", classes=[last], output={"dicom-labelmap": tmp_path / "one.dcm"})
    file = pydicom.dcmread(tmp_path / "one.dcm")
    (segment,) = [item for item in file.SegmentSequence if item.SegmentLabel == last]
    assert segment.SegmentNumber == prediction.values[last]
    everything = pydicom.dcmread(done / "plain_labelmap.dcm")
    (same,) = [item for item in everything.SegmentSequence if item.SegmentLabel == last]
    assert list(segment.RecommendedDisplayCIELabValue) == list(same.RecommendedDisplayCIELabValue)
    assert segment.TrackingUID == same.TrackingUID


@pytest.mark.parametrize("reader", ["NibabelIO", "NibabelIOWithReorient"])
def test_other_readers_of_nnunet_lead_to_the_same_slices(reader, series, done, tmp_path):
    """They read NIfTI, in single precision and with axes of their own."""
    from importlib import import_module

    from nnunetv2_cdpd.inference.inputs import source_of
    from nnunetv2_cdpd.volumes.reading import CheckedReader

    checked = CheckedReader(getattr(import_module("nnunetv2.imageio.nibabel_reader_writer"), reader)())
    for kind in KINDS:
        case = as_case(series / kind, ".nii.gz", 1, "CT")
        with opened(case, checked, tell=lambda note: None) as files:
            array, properties = checked.read_images(files)
        source = source_of(case).slices
        marked = array[0].astype(np.float32)
        found = source.on_slices(marked.T, Grid.of_properties(marked.shape, properties))
        image = sitk.ReadImage(str(done / f"{kind}.nii.gz"))
        upright = sitk.GetArrayFromImage(_hu(series, kind))
        assert np.array_equal(found, source.on_slices(upright.T.astype(np.float32))) and image.GetSize() == source.grid.shape


def _hu(series, kind):
    from nnunetv2_cdpd.volumes.dicom import read_series

    return read_series(sorted((series / kind).iterdir()), "CT").image()
