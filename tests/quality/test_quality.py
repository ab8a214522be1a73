"""What is said of a prediction by a calibrated model: `cdpd predict --quality`, its tables, its page and probabilities."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from builders.prediction import digests, predict, read
from builders.quality import NUM_CASES

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.jobs import read_sealed, write_sealed
from nnunetv2_cdpd.quality.collect import CASES_FOLDER
from nnunetv2_cdpd.quality.files import read_quality_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def predicted(calibrated, images, tmp_path_factory):
    return predict(images, tmp_path_factory.mktemp("predicted") / "out", calibrated.model, "--quality")


def test_a_degraded_image_lowers_the_predicted_dice(predicted):
    cases = json.loads((predicted / "quality.json").read_text())["cases"]

    def mean(case):
        return np.mean([its["predicted_dice"] for its in cases[case].values()])

    assert mean("noisy") < mean("clean") - 0.05 and mean("blurred") < mean("clean") - 0.02


def test_tables_hold_every_case_and_class(predicted):
    content = json.loads((predicted / "quality.json").read_text())
    assert content["calibration"]["cases"] == NUM_CASES and sorted(content["cases"]) == ["blurred", "clean", "noisy"]
    labels = read(predicted / "clean.nii.gz")
    spleen = content["cases"]["clean"]["spleen"]
    assert spleen["volume_ml"] == pytest.approx((labels == 6).sum() * 0.9 * 0.8 * 2 / 1000) and spleen["present"]
    assert spleen["volume_low_ml"] <= spleen["volume_ml"] * 1.5 and spleen["volume_low_ml"] < spleen["volume_high_ml"]
    with (predicted / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 6 and [float(row["predicted_dice"]) for row in rows] == sorted(
        its["predicted_dice"] for classes in content["cases"].values() for its in classes.values()
    )
    assert {row["look"] for row in rows} <= {"0", "1"}


def test_label_maps_are_those_without_quality(predicted, calibrated, images, tmp_path):
    plain = predict(images, tmp_path / "out", calibrated.model)
    for case in ("clean", "noisy", "blurred"):
        assert np.array_equal(read(plain / f"{case}.nii.gz"), read(predicted / f"{case}.nii.gz"))


def test_an_interrupted_job_goes_on_to_the_same_tables(predicted, calibrated, images, tmp_path):
    output = shutil.copytree(predicted, tmp_path / "out")
    (output / "quality" / "noisy.json").unlink()
    (output / "quality.json").unlink()
    kept = (output / "clean.nii.gz").stat().st_mtime_ns
    predict(images, output, calibrated.model, "--quality", "--continue_prediction")
    assert digests(output) == digests(predicted) and (output / "clean.nii.gz").stat().st_mtime_ns == kept


def test_calibrated_probabilities_are_those_of_scaled_logits(calibrated, images, tmp_path):
    image = images / "clean_0000.nii.gz"
    plain = predict(image, tmp_path / "plain", calibrated.model, "--save_probabilities")
    scaled = predict(image, tmp_path / "scaled", calibrated.model, "--save_probabilities", "--calibrate_probabilities")
    before, after = (np.load(folder / "clean.npz")["probabilities"] for folder in (plain, scaled))
    model, _ = read_quality_model(calibrated.model)
    for name, p, q in zip(model.classes, before, after):
        inside = (p > 0.01) & (p < 0.99)
        logits = np.log(p[inside] / (1 - p[inside]))
        platt = model.platt.get(name)
        expected = logits if platt is None else platt(logits)
        np.testing.assert_allclose(q[inside], 1 / (1 + np.exp(-expected)), atol=0.01)
    assert not (scaled / "quality.json").exists()
    assert json.loads((scaled / "cdpd_predict.json").read_text())["calibrate_probabilities"] is True


def test_probabilities_are_calibrated_only_where_they_are_written(calibrated, images, tmp_path, capsys):
    predict(images, tmp_path / "out", calibrated.model, "--calibrate_probabilities", expect=1)
    assert "--calibrate_probabilities: of those that --save_probabilities writes" in capsys.readouterr().err


def test_a_class_that_was_not_found_is_said_to_be_missed_or_not(calibrated):
    model, _ = read_quality_model(calibrated.model)
    nothing = {"highest": -8.0, "shape": None}
    always = model.judge({"liver": nothing}, {"liver": 0.0})["liver"]
    assert not always.present and always.predicted_dice < 0.2 and always.look and always.why == ("not found",)
    assert always.volume_low_ml == 0 and always.volume_high_ml > 0
    rare = replace(model, absent=replace(model.absent, priors={"liver": -4.0})).judge({"liver": nothing}, {"liver": 0.0})["liver"]
    assert rare.predicted_dice > 0.95 and rare.volume_high_ml == 0


def test_voxels_that_the_images_grid_does_not_show_are_nothing(calibrated):
    model, _ = read_quality_model(calibrated.model)
    facts = json.loads((calibrated.model / CASES_FOLDER / "fold_0" / "case_04.json").read_text())["intact"]["facts"]
    assert facts["liver"]["shape"] is not None
    judged = model.judge(facts, {**dict.fromkeys(facts, 1.0), "liver": 0.0})
    assert not judged["liver"].present and judged["liver"].volume_high_ml > 0 and judged["spleen"].present


def test_a_flat_image_has_an_area_and_no_volume(calibrated):
    model, _ = read_quality_model(calibrated.model)
    record = json.loads((calibrated.model / CASES_FOLDER / "fold_0" / "case_04.json").read_text())
    judged = model.judge(record["intact"]["facts"], dict.fromkeys(model.classes))
    assert {its.volume_low_ml for its in judged.values()} == {None} == {its.volume_high_ml for its in judged.values()}


def test_the_report_shows_the_worst_first(predicted, capsys):
    assert main(["report", str(predicted), "--images", str(predicted)]) == 0
    assert "so the page has the predicted quality alone" in capsys.readouterr().out
    page = (predicted / "report.html").read_text()
    cases = json.loads((predicted / "quality.json").read_text())["cases"]
    flagged = {case: sum(its["look"] for its in classes.values()) for case, classes in cases.items()}
    assert "<h1>Quality of predictions</h1>" in page
    order = [case for _, case in sorted((page.index(f'<th scope="row">{case}</th>'), case) for case in cases)]
    assert [flagged[case] for case in order] == sorted(flagged.values(), reverse=True)
    assert page.count('<td class="words bad"') == sum(flagged.values())
    (predicted / "report.html").unlink()


def test_a_report_of_a_damaged_table_is_refused(predicted, tmp_path, capsys):
    folder = shutil.copytree(predicted, tmp_path / "out")
    (folder / "quality.json").write_text('{"calibration": {}, "cases": {"a": {"liver": {}}}}')
    assert main(["report", str(folder)]) == 1
    assert "quality.json: `cases: a: liver: present` is missing" in capsys.readouterr().err


def test_statistics_and_quality_go_together(predicted, calibrated, images, tmp_path):
    both = predict(images, tmp_path / "both", calibrated.model, "--quality", "--stats")
    assert (both / "quality.json").read_text() == (predicted / "quality.json").read_text()
    statistics = json.loads((both / "statistics.json").read_text())
    for case, classes in json.loads((both / "quality.json").read_text())["cases"].items():
        assert {name: its["volume_ml"] for name, its in classes.items()} == {
            name: its["volume_ml"] for name, its in statistics[case].items()
        }


def test_the_quality_of_chosen_classes_is_that_of_a_prediction_of_all(predicted, calibrated, images, tmp_path):
    """The other classes of a case tell of it too, so they are computed all the same."""
    chosen = predict(images, tmp_path / "chosen", calibrated.model, "--quality", "--classes", "liver", "spleen")
    of_all = json.loads((predicted / "quality.json").read_text())["cases"]
    found = json.loads((chosen / "quality.json").read_text())["cases"]
    assert found == {case: {name: its[name] for name in ("liver", "spleen")} for case, its in of_all.items()}
    assert set(np.unique(read(chosen / "clean.nii.gz"))) <= {0, 1, 6}


def test_facts_that_were_edited_are_refused(predicted, calibrated, images, tmp_path, capsys):
    output = shutil.copytree(predicted, tmp_path / "out")
    file = output / "quality" / "noisy.json"
    content = json.loads(file.read_text())
    content["facts"]["liver"]["shape"]["faces"] = 0
    file.write_text(json.dumps(content))
    predict(images, output, calibrated.model, "--quality", "--continue_prediction", expect=1)
    assert f"{file}: is not as it was written; remove it and predict its case again" in capsys.readouterr().err


def test_cases_of_other_networks_are_no_part_of_the_tables(predicted, calibrated, images, tmp_path, capsys):
    """A folder may hold predictions of another model; this calibration knows nothing of them."""
    output = tmp_path / "out"
    predict(images / "clean_0000.nii.gz", output, calibrated.model, "--quality")
    file = output / "quality" / "clean.json"
    write_sealed(file, {**read_sealed(file), "networks": ["another"]})
    predict(images / "noisy_0000.nii.gz", output, calibrated.model, "--quality")
    found = json.loads((output / "quality.json").read_text())["cases"]
    assert found == {"noisy": json.loads((predicted / "quality.json").read_text())["cases"]["noisy"]}
    assert "quality.json leaves out clean, predicted by other networks" in capsys.readouterr().out
