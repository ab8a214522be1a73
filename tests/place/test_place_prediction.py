"""`cdpd predict --clean` with a model that tells where classes lie: what `cdpd clean --place` says, of whatever images."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from builders.bodies import ORGANS, body_cases, made_up_body, write_body_dataset, write_volume
from builders.model import PLANS, TRAINER, write_model
from builders.prediction import predict, read
from builders.replica_files import write_dicom

from nnunetv2_cdpd.annotation import Annotation, Source, read_annotation
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.datasets.carried import taken_along
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.place.applied import CTPlace
from nnunetv2_cdpd.place.files import PLACE_FILE, carry_place, copy_place, has_place, read_place
from nnunetv2_cdpd.place.learning import learn_dataset
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD

pytestmark = pytest.mark.usefixtures("one_thread")
USED = "note: the clean-up uses the place.json of the model\n"
ANNOTATION = Annotation(
    classes=tuple(ORGANS),
    values=(1, 2, 3),
    regions=((1,), (2,), (3,)),
    sources=(Source("Bodies", tuple(ORGANS)),),
    case_source=None,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_body_dataset(tmp_path_factory.mktemp("raw") / "Dataset007_Bodies", body_cases(8))


@pytest.fixture(scope="module")
def place_file(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("learned") / PLACE_FILE
    learn_dataset(dataset, path, num_processes=1, progress=False)
    return path


@pytest.fixture(scope="module")
def without_place(tmp_path_factory):
    """A model of the bodies' organs; its random network finds them all over the body."""
    folder = tmp_path_factory.mktemp("model") / f"{TRAINER}__{PLANS}__3d_fullres"
    return write_model(folder, annotation=ANNOTATION, spacing=[16.0, 16.0, 16.0])


@pytest.fixture(scope="module")
def model(without_place, place_file, tmp_path_factory):
    folder = shutil.copytree(without_place, tmp_path_factory.mktemp("placed") / without_place.name)
    copy_place(place_file.parent, folder, ANNOTATION)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_volume(folder / "a_0000.nii.gz", np.rint(made_up_body(30, 560, seed=90)[0]).astype(np.int16))
    return folder


@pytest.fixture(scope="module")
def predicted(images, model, tmp_path_factory):
    return predict(images, tmp_path_factory.mktemp("plain") / "out", model)


def cleaned(predicted, output, *more):
    assert main(["clean", str(predicted), str(output), "-np", "1", *map(str, more)]) == 0
    return read(output / "a.nii.gz")


@pytest.fixture(scope="module")
def in_two_steps(predicted, images, model, tmp_path_factory):
    output = tmp_path_factory.mktemp("steps") / "out"
    found = cleaned(predicted, output, "--place", model, "--images", images)
    effects = json.loads((output / "cleanup.json").read_text())["all_cases"]
    assert effects["place"]["liver"]["cases"] == 1 and effects["place"]["bladder"]["cases"] == 1  # else nothing is shown here
    return found


def test_it_is_told_of_which_images_nothing_is_known(predicted, images, model, tmp_path, capsys):
    shutil.copytree(images, tmp_path / "images")
    image = nibabel.load(images / "a_0000.nii.gz")
    nothing = np.full(image.shape, -1000, np.int16)
    nibabel.save(nibabel.Nifti1Image(nothing, image.affine, image.header), tmp_path / "images" / "a_0000.nii.gz")
    label_map = cleaned(predicted, tmp_path / "out", "--rules", "place", "--place", model, "--images", tmp_path / "images")
    assert np.array_equal(label_map, read(predicted / "a.nii.gz"))
    assert "note: a: cleaned without place, as the image shows less than 4 cm of a body" in capsys.readouterr().out
    cleaned(predicted, tmp_path / "other", "--rules", "place", "--place", model, "--images", images)
    assert "without place" not in capsys.readouterr().out


def test_folders_and_files_are_cleaned_as_in_two_steps(images, model, in_two_steps, tmp_path, capsys):
    output = predict(images, tmp_path / "out", model, "--clean")
    assert np.array_equal(read(output / "a.nii.gz"), in_two_steps)
    assert capsys.readouterr().out.startswith(USED)
    alone = predict(images / "a_0000.nii.gz", tmp_path / "alone.nii.gz", model, "--clean")
    assert np.array_equal(read(alone), in_two_steps)
    assert capsys.readouterr().out.startswith(USED)


def test_so_are_dicom_series_and_images_of_a_bids_dataset(images, model, in_two_steps, tmp_path):
    image = nibabel.as_closest_canonical(nibabel.load(images / "a_0000.nii.gz"))
    write_dicom(tmp_path / "dicom" / "a", np.asarray(image.dataobj), image.affine)
    output = predict(tmp_path / "dicom", tmp_path / "out", model, "--clean")
    assert np.array_equal(read(output / "a.nii.gz"), in_two_steps)
    raw = tmp_path / "bids" / "sub-01" / "anat"
    raw.mkdir(parents=True)
    shutil.copy(images / "a_0000.nii.gz", raw / "sub-01_ct.nii.gz")
    (tmp_path / "bids" / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.8.0"}')
    output = predict(tmp_path / "bids", tmp_path / "derived", model, "--clean", "--bids")
    assert np.array_equal(read(next(output.rglob("*_dseg.nii.gz"))), in_two_steps)


def test_from_python_files_are_cleaned_by_place_and_arrays_are_not(images, model, predicted, in_two_steps, tmp_path):
    predictor = Predictor.from_folder(model, [0], device="cpu")
    file = images / "a_0000.nii.gz"
    assert np.array_equal(predictor.predict(file, clean=True).label_map, in_two_steps)
    only = predictor.predict(file, clean=True, classes=["bladder"]).label_map
    assert np.array_equal(only, np.where(in_two_steps == 2, 2, 0))
    array = predictor.predict(read(file), (8.0, 8.0, 8.0), clean=True).label_map
    assert np.array_equal(array, cleaned(predicted, tmp_path / "out"))
    predictor.select()
    assert predictor.place is None and predictor.place_note is None


def test_a_model_that_tells_nothing_of_place_cleans_as_ever(images, without_place, predicted, tmp_path, capsys):
    output = predict(images, tmp_path / "out", without_place, "--clean")
    assert "place" not in capsys.readouterr().out
    assert np.array_equal(read(output / "a.nii.gz"), cleaned(predicted, tmp_path / "cleaned"))


def test_where_no_channel_is_a_ct_it_is_told_that_place_is_not_used(images, model, predicted, tmp_path, capsys):
    other = shutil.copytree(model, tmp_path / "model")
    content = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**content, "channel_names": {"0": "T1"}}))
    output = predict(images, tmp_path / "out", other, "--clean")
    told = f"note: the clean-up does without the place.json of the model: {other / 'dataset.json'}: channels T1, none of which is"
    assert capsys.readouterr().out.startswith(told)
    assert np.array_equal(read(output / "a.nii.gz"), cleaned(predicted, tmp_path / "cleaned"))


def test_of_an_image_that_lies_too_obliquely_it_is_told_too(images, model, tmp_path, capsys):
    image = sitk.ReadImage(str(images / "a_0000.nii.gz"))
    image.SetDirection((1, 0, 0, 0, np.sqrt(0.5), -np.sqrt(0.5), 0, np.sqrt(0.5), np.sqrt(0.5)))
    file = tmp_path / "images" / "oblique_0000.nii.gz"
    file.parent.mkdir()
    sitk.WriteImage(image, str(file))
    told = f"note: {file}: its file does not say how it lies in the body, or it lies too obliquely"
    predict(file.parent, tmp_path / "out", model, "--clean")
    assert told in capsys.readouterr().out
    predict(file, tmp_path / "alone.nii.gz", model, "--clean")
    assert told in capsys.readouterr().out


def test_resuming_with_another_place_is_refused(images, model, tmp_path, capsys):
    other = shutil.copytree(model, tmp_path / "model")
    output = predict(images, tmp_path / "out", other, "--clean")
    content = json.loads((other / PLACE_FILE).read_text())
    content["place"]["cases"] = [4, 4, 4]
    (other / PLACE_FILE).write_text(json.dumps(content))
    predict(images, output, other, "--resume", "--clean", expect=1)
    assert "the predictions there were made with other settings (place); use" in capsys.readouterr().err


def test_a_place_of_another_dataset_is_refused_before_the_work(images, model, dataset, tmp_path, capsys):
    other = shutil.copytree(model, tmp_path / "model")
    content = json.loads((other / PLACE_FILE).read_text())
    content["place"]["classes"] = [f"other {name}" for name in content["place"]["classes"]]
    (other / PLACE_FILE).write_text(json.dumps(content))
    predict(images, tmp_path / "out", other, "--clean", expect=1)
    assert f"{other / PLACE_FILE}: is of Dataset007_Bodies with the classes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    predict(images, tmp_path / "out", other)  # nobody asks for it


def test_it_comes_out_of_nnunets_zip(images, model, in_two_steps, nnunet_folders, tmp_path):
    from nnunetv2.model_sharing.model_export import export_pretrained_model
    from nnunetv2.model_sharing.model_import import install_model_from_zip_file

    folder = shutil.copytree(model, nnunet_folders.results / "Dataset850_Tiny" / model.name)
    (folder / "fold_0" / "validation").mkdir()
    for name in ("progress.png", "debug.json", "validation/summary.json"):  # which the export asks for
        (folder / "fold_0" / name).write_text("{}")
    archive = str(tmp_path / "m.zip")
    export_pretrained_model("Dataset850_Tiny", archive, ("3d_fullres",), TRAINER, PLANS, folds=(0,), strict=False)
    shutil.rmtree(folder)
    install_model_from_zip_file(archive)
    assert not (folder / PLACE_FILE).exists() and has_place(folder)
    assert read_place(folder, ANNOTATION).cases == {}  # nothing of those that it was learned from
    output = predict(images, tmp_path / "out", folder, "--clean")
    assert np.array_equal(read(output / "a.nii.gz"), in_two_steps)


def test_a_damaged_one_of_a_zip_is_refused(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / PLACE_FILE).unlink()
    fingerprint = folder / "dataset_fingerprint.json"
    content = json.loads(fingerprint.read_text())
    content["cdpd_place"]["place"].pop("axes")
    fingerprint.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"dataset_fingerprint.json: `cdpd_place: place: axes` is missing, .*; put a place.json beside"
    ):
        read_place(folder, ANNOTATION)


def test_where_nobody_can_say_whether_a_zip_had_one_that_is_told(images, model, tmp_path, capsys):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / PLACE_FILE).unlink()
    (folder / "dataset_fingerprint.json").write_text('{"spacings": [')
    predict(images, tmp_path / "out", folder, "--clean")
    told = f"note: the clean-up does without the place.json of the model: {folder / 'dataset_fingerprint.json'}: cannot be read"
    assert capsys.readouterr().out.startswith(told)


def test_a_copy_by_hand_is_used_and_it_is_told_that_no_export_takes_it_along(place_file, without_place, tmp_path):
    folder = shutil.copytree(without_place, tmp_path / "model")
    shutil.copy(place_file, folder)
    predictor = Predictor.from_folder(folder, [0], device="cpu")
    predictor.select(clean=True)
    assert predictor.place is not None and "nnU-Net's export would not take along; to mend: cdpd place" in predictor.place_note
    carry_place(folder)
    predictor.select(clean=True)
    assert predictor.place_note + "\n" == USED


def test_of_an_image_that_shows_too_little_it_is_told(images, model, tmp_path, capsys):
    file = tmp_path / "thin_0000.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(images / "a_0000.nii.gz"))[:, :, :4], str(file))  # 32 mm
    predict(file, tmp_path / "thin.nii.gz", model, "--clean")
    assert f"note: {file}: it shows less than 4 cm of a body, or one unlike" in capsys.readouterr().out


@pytest.mark.parametrize("number", [1e13, -1e13, 1e308])
def test_numbers_that_no_body_has_are_refused(model, tmp_path, number):
    content = json.loads((model / PLACE_FILE).read_text())
    for where, key in ((content["place"]["axes"][0], "image_spread"), (content["place"]["heights"], "most_disagreement")):
        before, where[key] = where[key], number
        (tmp_path / PLACE_FILE).write_text(json.dumps(content))
        with pytest.raises(UserError, match=f"{key}` is .*, not a number from .*; remove it and make it anew: cdpd place"):
            read_place(tmp_path, ANNOTATION)
        where[key] = before


def test_the_ways_out_of_a_torn_file_lead_out(dataset, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    whole = (folder / PLACE_FILE).read_text()
    (folder / PLACE_FILE).write_text(whole[:500])
    with pytest.raises(UserError, match="remove it and make it anew: cdpd place DATASET, or cdpd place DATASET -o MODEL_FOLDER"):
        read_place(folder, ANNOTATION)
    with pytest.raises(UserError, match="nothing was changed, give another file by argument output, or remove it$"):
        learn_dataset(dataset, folder, num_processes=1, progress=False)
    (folder / PLACE_FILE).unlink()
    learn_dataset(dataset, folder, num_processes=1, progress=False)
    assert (folder / PLACE_FILE).read_text() == whole


def test_a_model_that_cannot_carry_it_is_told_before_the_work(dataset, without_place, tmp_path):
    folder = shutil.copytree(without_place, tmp_path / "model")
    (folder / "dataset_fingerprint.json").write_text("{")
    with pytest.raises(UserError, match="dataset_fingerprint.json: cannot be read as JSON .*; copy it from the preprocessed"):
        learn_dataset(dataset, folder, num_processes=1, progress=False)
    assert not (folder / PLACE_FILE).exists()


def test_a_model_without_fingerprint_is_one_too(dataset, without_place, tmp_path):
    folder = shutil.copytree(without_place, tmp_path / "model")
    (folder / "dataset_fingerprint.json").unlink()
    other = write_body_dataset(tmp_path / "Dataset008_Other", body_cases(1), ("heart", "liver"), names=("kidney", "spleen"))
    with pytest.raises(UserError, match="a model of other classes"):
        learn_dataset(other, folder)
    learn_dataset(dataset, folder, num_processes=1, progress=False)
    (folder / PLACE_FILE).unlink()
    assert read_place(folder, ANNOTATION).dataset == "Dataset007_Bodies"


def test_the_command_puts_it_into_a_model_that_is_trained_already(dataset, without_place, place_file, tmp_path, capsys):
    folder = shutil.copytree(without_place, tmp_path / "model")
    assert main(["place", str(dataset), "-o", str(folder), "-np", "1"]) == 0
    assert f"written to {folder / PLACE_FILE}" in capsys.readouterr().out
    assert json.loads((folder / PLACE_FILE).read_text()) == json.loads(place_file.read_text())
    assert taken_along(folder, "cdpd_place")[0] == {**json.loads(place_file.read_text()), "cases": {}}


def test_of_a_dataset_that_has_some_of_the_classes_it_tells_which_are_missing(without_place, tmp_path):
    some = write_body_dataset(tmp_path / "Dataset008_Some", body_cases(6), organs=("heart", "liver"))
    folder, told = shutil.copytree(without_place, tmp_path / "model"), []
    learn_dataset(some, folder, num_processes=1, progress=False, report=told.append)
    assert told == [f"note: nothing is said of bladder of {folder}, which Dataset008_Some does not have"]
    place = read_place(folder, ANNOTATION)
    assert dict(zip(place.model.classes, place.model.cases)) == {"liver": 6, "bladder": 0, "heart": 6}


@pytest.mark.parametrize("carried", [False, True])
def test_what_a_model_knows_of_more_classes_is_not_replaced(dataset, without_place, tmp_path, carried):
    some = write_body_dataset(tmp_path / "Dataset008_Some", body_cases(1), organs=("heart", "liver"))
    folder = shutil.copytree(without_place, tmp_path / "model")
    learn_dataset(dataset, folder, num_processes=1, progress=False)
    if carried:
        (folder / PLACE_FILE).unlink()
    with pytest.raises(UserError, match=r"place.json: tells where bladder can lie, which Dataset008_Some does not have;"):
        learn_dataset(some, folder, num_processes=1, progress=False)
    assert read_place(folder, ANNOTATION).dataset == "Dataset007_Bodies"
    learn_dataset(dataset, folder, num_processes=1, progress=False)  # which knows no less


def test_not_into_a_model_of_other_classes(without_place, tmp_path):
    other = write_body_dataset(tmp_path / "Dataset008_Other", body_cases(1), ("heart", "liver"), names=("kidney", "spleen"))
    folder = shutil.copytree(without_place, tmp_path / "model")
    with pytest.raises(UserError, match=r"model: a model of other classes than those of .*Dataset008_Other.*; give its dataset"):
        learn_dataset(other, folder)
    assert not has_place(folder)


def test_a_stale_file_is_not_copied_into_a_model_folder(place_file, without_place, tmp_path):
    folder = shutil.copytree(without_place, tmp_path / "model")
    stale = read_annotation({"labels": {"background": 0, "kidney": 1, "spleen": 2}})
    with pytest.raises(UserError, match="is of Dataset007_Bodies with the classes"):
        copy_place(place_file.parent, folder, stale)
    trainer, told = nnUNetTrainerCDPD.__new__(nnUNetTrainerCDPD), []
    trainer.preprocessed_dataset_folder_base, trainer.output_folder_base = str(place_file.parent), str(folder)
    trainer.annotation, trainer.print_to_log_file = stale, told.append
    trainer._take_place()
    assert told.pop().startswith(f"The model folder gets no place.json: {place_file}: is of Dataset007_Bodies")
    assert not has_place(folder)
    trainer.annotation = ANNOTATION
    trainer._take_place()
    assert has_place(folder) and not told
    trainer.annotation = read_annotation({"labels": {"background": 0, "spleen": 1, "heart": 2}})
    trainer._take_place()
    assert told.pop().startswith(f"{folder / PLACE_FILE}: knows nothing of where spleen can lie; `cdpd place DATASET -o")
    trainer.annotation = ANNOTATION
    (folder / PLACE_FILE).write_text((folder / PLACE_FILE).read_text().replace("Dataset007_Bodies", "Dataset009_Mine"))
    trainer._take_place()
    assert told.pop() == f"{folder / PLACE_FILE}: was another one; {place_file} has taken its place"
    (folder / PLACE_FILE).unlink()
    (folder / PLACE_FILE).mkdir()
    trainer._take_place()
    assert told == [f"The model folder gets no place.json: {folder / PLACE_FILE}: Is a directory"]


def test_the_ct_may_be_any_channel(place_file, images):
    image = sitk.ReadImage(str(images / "a_0000.nii.gz"))
    ct, grid = (
        sitk.GetArrayFromImage(image).astype(np.float32),
        dict(
            sitk_stuff={"spacing": image.GetSpacing(), "origin": image.GetOrigin(), "direction": image.GetDirection()},
            spacing=list(image.GetSpacing())[::-1],
        ),
    )
    model = read_place(place_file, ANNOTATION).model
    alone = CTPlace(model, 0).of_image(ct[None], grid)
    second = CTPlace(model, 1).of_image(np.stack([np.zeros_like(ct), ct]), grid)
    assert np.isfinite(alone.says).all() and np.array_equal(alone.says, second.says)
    assert CTPlace(model, 0).of_image(ct[None], {"spacing": [8.0, 8.0, 8.0]}) is None
