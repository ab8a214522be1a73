"""`cdpd clean` on real files: geometry kept, effects told, bad cases named, and its effect seen by `cdpd evaluate --compare`."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.cleanup import folder as folder_module
from nnunetv2_cdpd.cleanup.clean import array_axes
from nnunetv2_cdpd.cleanup.folder import clean_folder, total_effects
from nnunetv2_cdpd.cleanup.rules import RULES
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError

SHAPE = (9, 14, 18)  # z, y, x
SPACING = (0.8, 1.25, 3.0)  # x, y, z
DIRECTION = (0, -1, 0, 1, 0, 0, 0, 0, -1)
LIVER, ISLAND, VEIN = np.s_[1:6, 2:9, 3:11], np.s_[7:9, 12:14, 15:17], np.s_[0:9, 10:12, 3:5]
DATASET_JSON = {
    "channel_names": {"0": "CT"},
    "file_ending": ".nii.gz",
    "labels": {"background": 0, "Liver": [1, 2], "lesion": 2, "pancreas": 3, "portal_vein_and_splenic_vein": 4},
    "regions_class_order": [1, 2, 3, 4],
}


def write(path, *boxes, direction=DIRECTION):
    """A label map of (value, box)."""
    array = np.zeros(SHAPE, np.uint8)
    for value, box in boxes:
        array[box] = value
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((-12.5, 30.0, 7.25))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def predictions(tmp_path):
    """case_1 has a liver island and a lesion far away, case_2 nothing to clean."""
    folder = tmp_path / "predicted"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    write(folder / "case_1.nii.gz", (1, LIVER), (1, ISLAND), (2, np.s_[8:9, 0:2, 0:1]))
    write(folder / "case_2.nii.gz", (1, LIVER), (2, np.s_[2:4, 3:5, 5:7]))
    return folder


def test_a_torn_prediction_is_named_and_stops_no_other(predictions, tmp_path, capsys):
    path = predictions / "case_1.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert main(["clean", str(predictions), str(tmp_path / "cleaned"), "-np", "1"]) == 1
    assert f"{path} is damaged" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "cleaned").glob("*.nii.gz")] == ["case_2.nii.gz"]


def test_what_is_put_right_in_a_header_is_told(predictions, tmp_path):
    path, told = predictions / "case_1.nii.gz", []
    image = nibabel.load(path)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, path)
    clean_folder(predictions, tmp_path / "cleaned", num_processes=1, progress=False, report=told.append)
    assert told == [f"note: {path}: its header counts in microns, turned into mm"]


def test_the_command_cleans_a_folder_and_evaluate_shows_its_effect(predictions, tmp_path, capsys):
    cleaned, labels = tmp_path / "cleaned", tmp_path / "labels"
    assert main(["clean", str(predictions), str(cleaned), "-np", "1"]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["largest", "Liver", "1", "8", "0"] in table and ["tumors_at_organ", "lesion", "1", "2", "0"] in table
    before, after = (sitk.ReadImage(str(folder / "case_1.nii.gz")) for folder in (predictions, cleaned))
    for what in ("GetSpacing", "GetOrigin", "GetDirection", "GetSize", "GetPixelID"):
        assert getattr(after, what)() == pytest.approx(getattr(before, what)()), what
    expected = np.zeros(SHAPE, np.uint8)
    expected[LIVER] = 1
    np.testing.assert_array_equal(sitk.GetArrayFromImage(after), expected)
    assert json.loads((cleaned / "dataset.json").read_text()) == DATASET_JSON
    told = json.loads((cleaned / "cleanup.json").read_text())
    assert told["all_cases"]["largest"] == {"Liver": {"cases": 1, "removed": 8, "moved": 0}}
    assert set(told["cases"]) == {"case_1", "case_2"} and list(told["cases"]["case_2"]) == list(RULES)
    files = ["case_1.nii.gz", "case_2.nii.gz", "cdpd_clean_record.jsonl", "cleanup.json", "dataset.json"]
    assert sorted(path.name for path in cleaned.iterdir()) == files

    labels.mkdir()
    for case in ("case_1", "case_2"):
        write(labels / f"{case}.nii.gz", (1, LIVER), (2, np.s_[2:4, 3:5, 5:7]))
    evaluate = ["evaluate", str(cleaned), str(labels), "--dataset", str(predictions / "dataset.json"), "-np", "1"]
    assert main([*evaluate, "--compare", str(predictions)]) == 0
    comparison = json.loads((cleaned / "comparison.json").read_text())
    liver = comparison["metrics"]["Dice"]["Liver"]
    assert liver["A"] == 1 and liver["B"] < 1 and (liver["A_better"], liver["A_worse"], liver["equal"]) == (1, 0, 1)
    assert comparison["metrics"]["HD95_mm"]["Liver"]["difference"] < 0


def test_rules_are_chosen_by_name(predictions, tmp_path):
    cleaned = clean_folder(predictions, tmp_path / "cleaned", rules=["largest"], num_processes=1, progress=False)
    assert list(cleaned.done["case_1"]) == ["largest"]
    assert total_effects(cleaned) == {"largest": {"Liver": {"cases": 1, "removed": 8, "moved": 0}}}


def test_the_list_of_rules_explains_each(capsys):
    with pytest.raises(SystemExit):
        main(["clean", "--list-rules"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RULES) and all(len(line.split()) > 5 for line in lines)


@pytest.mark.parametrize("upwards, cut", [(1, slice(0, 3)), (-1, slice(5, 9))])
def test_the_file_tells_where_the_feet_are(tmp_path, upwards, cut):
    folder = tmp_path / "predicted"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    write(folder / "case.nii.gz", (3, np.s_[3:5, 2:5, 6:9]), (4, VEIN), direction=(1, 0, 0, 0, 1, 0, 0, 0, upwards))
    cleaned = clean_folder(folder, tmp_path / "cleaned", num_processes=1, progress=False)
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "cleaned" / "case.nii.gz")))
    assert not (array[cut] == 4).any() and (array == 4).sum() == 4 * (SHAPE[0] - len(range(*cut.indices(SHAPE[0]))))
    assert cleaned.done["case"]["portal_vein"]["portal_vein_and_splenic_vein"]["removed"] > 0


@pytest.mark.parametrize("reader, axes", [(SimpleITKIO, "IRP"), (NibabelIO, "IRP"), (NibabelIOWithReorient, "SAR")])
def test_axes_of_nnunets_readers(tmp_path, reader, axes):
    """The array of the last reader is turned to R, A, S, and its axes are reversed like the others'."""
    write(tmp_path / "x.nii.gz", (1, LIVER), direction=(0, -1, 0, 1, 0, 0, 0, 0, -1))
    label_map, properties = reader().read_seg(str(tmp_path / "x.nii.gz"))
    assert array_axes(label_map.shape[1:], properties) == axes
    assert array_axes((3, 4, 5), {"spacing": (1, 1, 1)}) is None


def test_what_was_cleaned_of_a_prediction_that_is_gone_is_told(predictions, tmp_path, capsys):
    assert main(["clean", str(predictions), str(tmp_path / "cleaned"), "-np", "1"]) == 0
    (predictions / "case_2.nii.gz").unlink()
    assert main(["clean", str(predictions), str(tmp_path / "cleaned"), "-np", "1"]) == 0
    assert f"also holds case_2, whose predictions are no more in {predictions}" in capsys.readouterr().out
    assert (tmp_path / "cleaned" / "case_2.nii.gz").is_file()


def test_a_bad_case_is_named_and_the_others_are_cleaned(predictions, tmp_path, capsys):
    write(predictions / "case_2.nii.gz", (9, LIVER))
    assert main(["clean", str(predictions), str(tmp_path / "cleaned"), "-np", "1"]) == 1
    error = capsys.readouterr().err
    assert "case 'case_2'" in error and "holds the value 9" in error
    assert sorted(path.name for path in (tmp_path / "cleaned").glob("*.nii.gz")) == ["case_1.nii.gz"]
    assert list(json.loads((tmp_path / "cleaned" / "cleanup.json").read_text())["problems"]) == ["case_2"]


@pytest.mark.parametrize(
    "prepare, options, message",
    [
        (lambda folder: (folder / "dataset.json").unlink(), {}, "no dataset.json, which says what the values mean"),
        (lambda folder: [file.unlink() for file in folder.glob("*.gz")], {}, "no file ends in .nii.gz"),
        (lambda folder: [file.write_bytes(b"x") for file in folder.glob("*.gz")], {}, "no reader for .nii.gz"),
        (lambda folder: [write(file, (9, LIVER)) for file in folder.glob("*.gz")], {}, "none of 2 cases could be cleaned"),
        (
            lambda folder: None,
            {"rules": ["sides"], "place": "p", "images": "i"},
            "argument place: is for the rule place, which is not among",
        ),
        (lambda folder: None, {"rules": ["tidy"]}, "no clean-up rule tidy; choose from place, sides"),
        (lambda folder: None, {"num_processes": 0}, "argument num_processes 0: give 1 or more"),
    ],
)
def test_mistakes_end_in_one_line(predictions, tmp_path, prepare, options, message):
    prepare(predictions)
    with pytest.raises(UserError, match=message) as raised:
        clean_folder(predictions, tmp_path / "cleaned", progress=False, **{"num_processes": 1, **options})
    assert "\n" not in str(raised.value) and not (tmp_path / "cleaned" / "cleanup.json").exists()


def test_a_file_in_place_of_the_folder_is_told(predictions, tmp_path):
    with pytest.raises(UserError, match="case_1.nii.gz: a file; give the folder of predictions"):
        clean_folder(predictions / "case_1.nii.gz", tmp_path / "cleaned", progress=False)


def test_links_in_a_circle_end_in_one_line(predictions, tmp_path, capsys):
    (tmp_path / "out").symlink_to(tmp_path / "out")
    for folders in ([predictions, tmp_path / "out"], [tmp_path / "out", tmp_path / "new"]):
        assert main(["clean", *map(str, folders), "-np", "1"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{tmp_path / 'out'}: " in line


def bytes_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_that_is_called_as_ours_gives_no_leave(predictions, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "cleanup.json").write_text('{"mine": 1}')
    write(tmp_path / "theirs" / "case_1.nii.gz", (3, VEIN))
    before = bytes_of(tmp_path / "theirs")
    with pytest.raises(UserError, match="case_1.nii.gz: nothing says that this command made it"):
        clean_folder(predictions, tmp_path / "theirs", num_processes=1, progress=False)
    assert bytes_of(tmp_path / "theirs") == before


@pytest.mark.parametrize("name", ["labelsTr", "theirs"])
def test_what_others_made_is_never_overwritten(name, predictions, tmp_path, capsys):
    target = tmp_path / "Dataset007_X" / name
    target.mkdir(parents=True)
    (target.parent / "dataset.json").write_text("{}")
    write(target / "case_1.nii.gz", (3, VEIN))
    before = bytes_of(target.parent)
    assert main(["clean", str(predictions), str(target), "-np", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line and "give another folder" in line
    assert bytes_of(target.parent) == before


def test_a_call_that_was_killed_goes_on(predictions, tmp_path, monkeypatch):
    cleaned = tmp_path / "cleaned"

    def killed(*args, **options):
        write(cleaned / "case_2.nii.gz", (1, ISLAND))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nnunetv2_cdpd.cleanup.folder.run", killed)
        with pytest.raises(KeyboardInterrupt):
            clean_folder(predictions, cleaned, num_processes=1, progress=False)
    for _ in range(2):  # the second call after that, over whole results
        clean_folder(predictions, cleaned, num_processes=1, progress=False)
        assert (sitk.GetArrayFromImage(sitk.ReadImage(str(cleaned / "case_2.nii.gz")))[ISLAND] == 0).all()


def test_files_of_another_ending_are_named(predictions, tmp_path):
    (predictions / "case_1.nii.gz").rename(predictions / "case_1.NII.GZ")
    lines = []
    clean_folder(predictions, tmp_path / "cleaned", num_processes=1, progress=False, report=lines.append)
    (line,) = lines
    assert line.startswith(f"note: {predictions}: not taken") and line.endswith("case_1.NII.GZ")


def test_the_predictions_themselves_are_never_overwritten(predictions):
    with pytest.raises(UserError, match="need a folder of their own"):
        clean_folder(predictions, predictions.parent / "." / "predicted")


def test_several_processes_give_the_same(predictions, tmp_path):
    for number in (1, 2):
        clean_folder(predictions, tmp_path / str(number), num_processes=number, progress=False)
    assert (tmp_path / "1" / "cleanup.json").read_bytes() == (tmp_path / "2" / "cleanup.json").read_bytes()


# ---- other rules, kills, failures ----------------------------------------------------------------------------------


def clean(predictions, cleaned, rule, **how):
    return clean_folder(predictions, cleaned, rules=[rule], num_processes=1, progress=False, **how)


def maps(folder):
    return {path.name[:6]: sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in folder.glob("case*.gz")}


def test_a_second_call_does_only_what_changed_and_tells_of_all(predictions, tmp_path):
    cleaned = tmp_path / "cleaned"
    first = clean(predictions, cleaned, "largest").done
    told, before = (cleaned / "cleanup.json").read_text(), {path: path.stat().st_mtime_ns for path in cleaned.glob("*.gz")}
    write(predictions / "case_2.nii.gz", (1, LIVER), (1, ISLAND))
    second = clean(predictions, cleaned, "largest").done
    assert list(second) == ["case_1", "case_2"] and second["case_1"] == first["case_1"]
    assert (
        second["case_2"] == {"largest": {"Liver": {"removed": 8, "moved": 0}}} and (cleaned / "cleanup.json").read_text() != told
    )
    changed = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert changed == ["case_2.nii.gz"]


def test_killed_half_way_no_map_of_other_rules_is_left(predictions, tmp_path, monkeypatch):
    cleaned = tmp_path / "cleaned"
    clean(predictions, cleaned, "largest")
    original = folder_module.clean_case

    def killed_at_the_second(job):
        if job.in_file.name.startswith("case_2"):
            raise KeyboardInterrupt
        return original(job)

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "clean_case", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            clean(predictions, cleaned, "tumors_at_organ")
    assert list(maps(cleaned)) == ["case_1"] and not (cleaned / "cleanup.json").exists()
    clean(predictions, cleaned, "tumors_at_organ")
    reference = clean(predictions, tmp_path / "reference", "tumors_at_organ")
    assert reference.done == clean(predictions, cleaned, "tumors_at_organ").done
    for case, array in maps(tmp_path / "reference").items():
        np.testing.assert_array_equal(maps(cleaned)[case], array)


def test_a_case_that_fails_leaves_no_map_of_other_rules(predictions, tmp_path):
    cleaned = tmp_path / "cleaned"
    clean(predictions, cleaned, "largest")
    write(predictions / "case_2.nii.gz", (9, LIVER))
    assert list(clean(predictions, cleaned, "tumors_at_organ").failed) == ["case_2"]
    assert list(maps(cleaned)) == ["case_1"]


def test_maps_of_other_rules_of_cases_that_are_gone_are_not_mixed_with_new_ones(predictions, tmp_path):
    cleaned = tmp_path / "cleaned"
    clean(predictions, cleaned, "largest")
    (predictions / "case_2.nii.gz").unlink()
    assert list(clean(predictions, cleaned, "largest").done) == ["case_1"] and len(maps(cleaned)) == 2  # another folder's
    with pytest.raises(UserError, match="cleaned: holds case_2, which were cleaned by other rules .*; use another folder"):
        clean(predictions, cleaned, "tumors_at_organ")
    assert len(maps(cleaned)) == 2


@pytest.mark.parametrize("facts", [{}, {"effects": 5}, {"effects": {"largest": {"Liver": {"removed": 8}}}}, None])
def test_a_damaged_record_blocks_nothing(predictions, tmp_path, facts):
    cleaned, told = tmp_path / "cleaned", []
    reference = clean(predictions, cleaned, "largest").done
    path = cleaned / "cdpd_clean_record.jsonl"
    header, first, second = map(json.loads, path.read_text().splitlines())
    path.write_text("\n".join(map(json.dumps, [header, {**first, "facts": facts}, second])) + "\n")
    assert clean(predictions, cleaned, "largest", report=told.append).done == reference
    assert told == [f"note: {path}: 1 damaged line; the cases that are told there are done again"]
