"""Predictor: nnU-Net's prediction, from arrays and files, in the image's geometry, of all classes or some."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders import model as tiny_model
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor, pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian

import nnunetv2_cdpd
from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.preprocessing import PreprocessedCase

pytestmark = pytest.mark.usefixtures("one_thread")

SPACING = (2.0, 0.8, 0.9)  # z, y, x


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("predictor") / "model", folds=(0, 1))


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor.from_folder(model, [0], device="cpu")


@pytest.fixture(scope="module")
def image():
    return tiny_model.make_image()


def write(path, array, direction=(0, 1, 0, -1, 0, 0, 0, 0, 1)):
    picture = sitk.GetImageFromArray(array)
    picture.SetSpacing(SPACING[::-1])
    picture.SetOrigin((12.5, -30.0, 7.0))
    picture.SetDirection(direction)
    sitk.WriteImage(picture, str(path))
    return path


def nnunets_logits(predictor, data, folds=(0,), use_mirroring=False, mirroring=None):
    """Logits of all classes by nnU-Net's own loop and the network as it was trained."""
    host = nnUNetPredictor(use_mirroring=use_mirroring, device=torch.device("cpu"), allow_tqdm=False)
    networks = [tiny_model.make_network(predictor.plans_manager.plans, predictor.dataset_json, seed) for seed in folds]
    host.manual_initialization(
        networks[0], predictor.plans_manager, predictor.configuration_manager, [n.state_dict() for n in networks],
        predictor.dataset_json, "", mirroring,
    )  # fmt: skip
    return host.predict_logits_from_preprocessed_data(data)


def assert_nnunets(found, expected):
    """Equal to nnU-Net's, but in corners of the volume: there its sums of halves have few digits left."""
    close = torch.isclose(found.float(), expected.float(), atol=2e-2, rtol=1e-2)
    assert close.float().mean() > 0.99
    torch.testing.assert_close(found, expected, atol=1.0, rtol=0)


def exact_logits(predictor, data):
    """The weighted mean over windows of one fold, computed in double precision."""
    patch_size = tuple(predictor.configuration_manager.patch_size)
    data, inside = pad_nd_image(data, patch_size, return_slicer=True)
    logits, total = (torch.zeros((n, *data.shape[1:]), dtype=torch.double) for n in (len(predictor.annotation.classes), 1))
    gaussian = compute_gaussian(patch_size, 1 / 8, 10, device=torch.device("cpu")).double()
    network = tiny_model.make_network(predictor.plans_manager.plans, predictor.dataset_json)
    for window in predictor._internal_get_sliding_window_slicers(data.shape[1:]):
        with torch.inference_mode():
            logits[window] += network(data[window][None])[0].double() * gaussian
        total[window] += gaussian
    return (logits / total).float()[(slice(None), *inside[1:])]


@pytest.mark.parametrize("windows_per_batch", [1, 3])
def test_logits_are_nnunets(model, image, windows_per_batch):
    predictor = Predictor.from_folder(model, [0], device="cpu", windows_per_batch=windows_per_batch)
    case = predictor.preprocess_array(image, SPACING)
    found = predictor.predict_logits_from_preprocessed_data(case.data)
    torch.testing.assert_close(found.float(), exact_logits(predictor, case.data), atol=2e-3, rtol=2e-3)  # of a half
    assert_nnunets(found, nnunets_logits(predictor, case.data))
    assert predictor.network.slice_tokens.encoded < predictor.network.slice_tokens.asked


def test_folds_are_averaged_as_nnunet_does(model, image):
    predictor = Predictor.from_folder(model, device="cpu")
    case = predictor.preprocess_array(image, SPACING)
    found = predictor.predict_logits_from_preprocessed_data(case.data)
    assert_nnunets(found, nnunets_logits(predictor, case.data, (0, 1)))


def test_mirroring_is_nnunets(tmp_path, image):
    model = tiny_model.write_model(tmp_path / "model", mirroring=(1, 2))
    predictor = Predictor.from_folder(model, device="cpu")
    data = predictor.preprocess_array(image, SPACING).data[:, :9, :17, :25]
    found = predictor.predict_logits_from_preprocessed_data(data)
    assert_nnunets(found, nnunets_logits(predictor, data, use_mirroring=True, mirroring=(1, 2)))
    predictor.use_mirroring = False
    plain = predictor.predict_logits_from_preprocessed_data(data)
    assert_nnunets(plain, nnunets_logits(predictor, data))
    assert not torch.allclose(plain, found, atol=0.1)


def test_a_network_of_slices_is_nnunets(tmp_path):
    architecture = tiny_model.make_plans()["configurations"][tiny_model.CONFIGURATION]["architecture"]
    architecture["arch_kwargs"] |= {
        "conv_op": "torch.nn.Conv2d", "norm_op": "torch.nn.InstanceNorm2d", "kernel_sizes": [[3, 3]] * 3,
        "strides": [[1, 1], [2, 2], [2, 2]], "patch_size": [16, 24], "fused_stages": [1],
    }  # fmt: skip
    model = tiny_model.write_model(tmp_path / "model", patch_size=[16, 24], spacing=[1.4, 1.1], architecture=architecture)
    predictor = Predictor.from_folder(model, device="cpu")
    data = torch.randn(1, 14, 30, 40, generator=torch.Generator().manual_seed(0))
    assert_nnunets(predictor.predict_logits_from_preprocessed_data(data), nnunets_logits(predictor, data))


def test_windows_without_contrast_are_run_once_and_change_nothing(predictor):
    data = torch.full((1, 40, 20, 30), -1.5)
    data[0, 28:, 4:, 5:] = torch.randn(12, 16, 25, generator=torch.Generator().manual_seed(0))
    ran = []
    handle = predictor.network.register_forward_hook(lambda _, args, __: ran.append(len(args[0])))
    found = predictor.predict_logits_from_preprocessed_data(data)
    handle.remove()
    windows = predictor._internal_get_sliding_window_slicers((40, 20, 30))
    constant = sum(bool((data[window] == -1.5).all()) for window in windows)
    assert constant > 1 and sum(ran) == len(windows) - constant + 1
    assert_nnunets(found, nnunets_logits(predictor, data))


def test_another_model_is_read_with_its_own_reader(model, tmp_path):
    predictor = Predictor.from_folder(model, [0], device="cpu")
    assert predictor.writer.name == "SimpleITKIO"
    plans = json.loads((shutil.copytree(model, tmp_path / "other") / "plans.json").read_text())
    (tmp_path / "other" / "plans.json").write_text(json.dumps({**plans, "image_reader_writer": "NibabelIO"}))
    predictor.initialize_from_trained_model_folder(str(tmp_path / "other"), [0])
    assert predictor.writer.name == "NibabelIO"


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_logits_that_are_no_finite_numbers_are_told(value, model, image, capsys):
    predictor = Predictor.from_folder(model, [0], device="cpu")
    predictor.perform_everything_on_device = True  # as on a GPU, where nnU-Net goes on after a lack of memory
    broken = dict(predictor.list_of_parameters[0])
    broken["decoder.seg_layers.1.bias"] = torch.full((6,), value)
    predictor.list_of_parameters = [broken]
    with pytest.raises(UserError, match="the network gave logits that are no finite numbers"):
        predictor.predict(image, SPACING)
    assert "memory" not in capsys.readouterr().out


@pytest.mark.parametrize("classes", [["liver"], ["kidney_tumor", "spleen"], ["liver_tumor"], ["left_kidney", "right_kidney"]])
def test_some_classes_equal_the_same_classes_of_the_full_run(predictor, image, classes):
    full = predictor.predict(image, SPACING)
    some = predictor.predict(image, SPACING, classes=classes)
    assert sorted(some.values) == sorted(classes)
    assert len(predictor.network.classes) == len(predictor.selection.needed) == (5 if "liver_tumor" not in classes else 6)
    assert set(np.unique(some.label_map)) <= {0, *some.values.values()}
    for name in classes:
        # a class with fewer rivals is computed in another batch of heads, so the last bit of a half may differ
        assert (full.mask(name) != some.mask(name)).mean() <= 1e-4


def test_every_class_occurs_in_the_test_image(predictor, image):
    found = np.unique(predictor.predict(image, SPACING).label_map)
    assert len(found) >= 6


def test_a_file_and_its_array_give_the_same(predictor, image, tmp_path):
    file = write(tmp_path / "case_0000.nii.gz", image)
    from_array, from_file = predictor.predict(image, SPACING), predictor.predict(file, output=tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(from_array), from_file.label_map)
    written = sitk.ReadImage(str(tmp_path / "out.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(written), from_file.label_map)
    original = sitk.ReadImage(str(file))
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(written, what)() == getattr(original, what)()
    assert np.asarray(from_array, dtype=float).dtype == float


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 40, 30), (9, 4, 60)])
def test_images_smaller_than_a_patch(predictor, shape):
    image = tiny_model.make_image((12, 50, 70))[-shape[0] :, : shape[1], 1 : 1 + shape[2]]
    image[image == 0] = 5
    assert predictor.predict(image, (5.0, 1.4, 1.5)).label_map.shape == shape


def test_an_image_without_a_voxel_at_the_models_spacing_is_refused(predictor):
    with pytest.raises(UserError, match="1 x 1 x 1 voxels has none at the model's spacing, .* mm; is it the right file"):
        predictor.predict(np.ones((1, 1, 1), np.float32), (0.2, 0.2, 0.2))


def test_an_image_of_which_the_crop_leaves_no_voxel_is_refused(predictor):
    image = np.zeros((14, 21, 18), np.float32)
    image[7, 10, 9] = 100
    with pytest.raises(
        UserError, match="of what is not 0 in the image no voxel is left at the model's spacing, .* mm; is it the"
    ):
        predictor.predict(image, (0.5, 0.5, 0.5))


def test_outside_of_the_crop_is_background(predictor, image):
    labels = predictor.predict(image, SPACING).label_map
    assert not labels[:2].any() and not labels[:, -3:].any() and not labels[:, :, :1].any()
    assert labels.any()


def test_flipped_image_files_keep_their_geometry(predictor, image, tmp_path):
    """The same array under another direction: nnU-Net's reader does not reorient, so the labels are the same."""
    flipped = write(tmp_path / "flipped.nii.gz", image, (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    assert np.array_equal(predictor.predict(flipped).label_map, predictor.predict(image, SPACING).label_map)


def test_several_channels(tmp_path, image):
    model = tiny_model.write_model(tmp_path / "model", channels=2)
    predictor = Predictor.from_folder(model, device="cpu")
    other = tiny_model.make_image(seed=1)
    files = [write(tmp_path / f"case_000{c}.nii.gz", array) for c, array in enumerate((image, other))]
    expected = predictor.predict(np.stack([image, other]), SPACING).label_map
    assert np.array_equal(predictor.predict(files).label_map, expected)
    assert np.array_equal(predictor.predict(files[0]).label_map, expected)
    with pytest.raises(ValueError, match=r"\(C, Z, Y, X\) with 2 channels for this model, got \(1, 26, 21, 34\)"):
        predictor.predict(image, SPACING)


def test_a_task_predicts_what_its_source_annotates(predictor, image):
    found = predictor.predict(image, SPACING, task="Kidney")
    assert list(found.values) == ["right_kidney", "left_kidney", "kidney_tumor"]
    (reading,) = predictor.network.choices
    assert reading.task == 1 and reading.classes == (2, 3, 4)
    with pytest.raises(UserError, match="no class liver; this model predicts right_kidney, left_kidney, kidney_tumor"):
        predictor.predict(image, SPACING, task="Kidney", classes=["liver"])
    with pytest.raises(UserError, match="no task 'KITS'; this model was trained on Liver, Kidney, Organs"):
        predictor.predict(image, SPACING, task="KITS")


def test_without_a_universal_task_every_class_is_read_from_the_tasks_that_annotate_it(tmp_path, image):
    predictor = Predictor.from_folder(tiny_model.write_model(tmp_path / "model", universal=False), device="cpu")
    assert predictor.predict(image, SPACING).label_map.any()
    assert [(r.task, r.classes) for r in predictor.network.choices] == [(0, (0, 1)), (1, (2, 3, 4)), (2, (0, 2, 3, 5))]


def test_a_class_that_no_task_annotates_is_told(tmp_path):
    annotation = tiny_model.ANNOTATION
    model = tiny_model.write_model(tmp_path / "model", universal=False)
    dataset_json = json.loads((model / "dataset.json").read_text())
    dataset_json["cdpd"]["sources"]["Organs"]["annotated_classes"] = ["liver"]
    (model / "dataset.json").write_text(json.dumps(dataset_json))
    with pytest.raises(UserError, match="no source annotates spleen"):
        Predictor.from_folder(model, device="cpu")
    assert "spleen" in annotation.classes


def test_task_prompts_must_be_the_sources(model, tmp_path):
    other = shutil.copytree(model, tmp_path / "model")
    dataset_json = json.loads((other / "dataset.json").read_text())
    del dataset_json["cdpd"]["sources"]["Organs"]
    (other / "dataset.json").write_text(json.dumps(dataset_json))
    with pytest.raises(UserError, match="dataset.json: 2 sources, and the model has 3 task prompts"):
        Predictor.from_folder(other, device="cpu")


def test_clean_up_of_some_classes_is_that_of_all(predictor, image):
    full = predictor.predict(image, SPACING, clean=True)
    some = predictor.predict(image, SPACING, clean=True, classes=["liver", "spleen"])
    assert (full.label_map != predictor.predict(image, SPACING).label_map).any()
    for name in ("liver", "spleen"):
        assert np.array_equal(full.mask(name), some.mask(name))


def test_probabilities_of_the_wanted_classes(predictor, image):
    found = predictor.predict(image, SPACING, classes=["liver_tumor", "spleen"], probabilities=True)
    assert found.probabilities.shape == (2, *image.shape) and found.probabilities.dtype == np.float32
    assert (found.probabilities[1][found.mask("spleen")] > 0.5).all()
    with pytest.raises(ValueError, match="no probabilities were kept; predict with probabilities=True"):
        _ = predictor.predict(image, SPACING).probabilities


def test_aligned_windows_share_more_slices_and_cover_the_image(model):
    predictor = Predictor.from_folder(model, [0], device="cpu", align_windows=True)
    step = predictor.network.network.slice_encoder.slice_step
    slicers = predictor._internal_get_sliding_window_slicers((23, 20, 30))
    starts = sorted({slicer[1].start for slicer in slicers})
    assert starts[-1] == 23 - 8 and all(start % step == 0 for start in starts[:-1])
    assert all(slicer[1].stop - slicer[1].start == 8 for slicer in slicers)
    assert set(range(23)) == {x for slicer in slicers for x in range(slicer[1].start, slicer[1].stop)}


@pytest.mark.parametrize("step_size, moved", [(0.5, True), (1, False)])
def test_windows_that_hardly_overlap_are_not_aligned_where_that_opens_a_gap(step_size, moved, model, monkeypatch):
    predictor = Predictor.from_folder(model, [0], device="cpu", align_windows=True, tile_step_size=step_size)
    monkeypatch.setattr(predictor.network.network.slice_encoder, "slice_step", 4)
    for length in range(9, 60):
        slicers = predictor._internal_get_sliding_window_slicers((length, 20, 30))
        assert set(range(length)) == {x for slicer in slicers for x in range(slicer[1].start, slicer[1].stop)}
        last = length - 8
        assert not moved or all(slicer[1].start % 4 == 0 or slicer[1].start == last for slicer in slicers)


def test_a_cleaned_class_keeps_a_value_that_it_shares_with_one_that_is_not_wanted(tmp_path, image, monkeypatch):
    classes = ("left_kidney", "kidney", "right_kidney")
    annotation = Annotation(classes, (1, 1, 2), ((1,), (1, 2), (2,)), (Source("Kidneys", classes),))
    predictor = Predictor.from_folder(tiny_model.write_model(tmp_path / "model", annotation=annotation), device="cpu")
    monkeypatch.setattr(Predictor, "_cleaned", lambda self, labels, properties: labels)
    full = predictor.predict(image, SPACING).label_map
    for wanted, value in (("left_kidney", 1), ("right_kidney", 2)):
        found = predictor.predict(image, SPACING, classes=[wanted], clean=True).label_map
        assert (full == value).any() and np.array_equal(found, np.where(full == value, value, 0))


# ---- mistakes ------------------------------------------------------------------------------------------------------


def test_array_and_file_need_what_they_need(predictor, image, tmp_path):
    with pytest.raises(ValueError, match="an array needs its spacing_mm"):
        predictor.predict(image)
    with pytest.raises(ValueError, match="an array needs its spacing_mm, and cannot be written"):
        predictor.predict(image, SPACING, output=tmp_path / "out.nii.gz")
    with pytest.raises(ValueError, match="an image file has its spacing in it"):
        predictor.predict(tmp_path / "case.nii.gz", SPACING)
    for spacing in ((1, 1), (1, 0, 1), (1, np.nan, 1)):
        with pytest.raises(ValueError, match="spacing_mm is a positive number per axis"):
            predictor.predict(image, spacing)


def test_no_class_and_unknown_class_are_told(predictor):
    with pytest.raises(UserError, match="no class to predict; name at least one"):
        predictor.select([])
    with pytest.raises(UserError, match="no class heart; this model predicts liver, liver_tumor"):
        predictor.select(["heart"])


def test_values_that_are_no_numbers_are_told(predictor, image):
    broken = image.astype(np.float32)
    broken[10, 10, 10] = np.nan
    with pytest.raises(UserError, match="values that are no numbers"):
        predictor.predict(broken, SPACING)


def test_the_package_offers_the_predictor_and_stays_light():
    assert nnunetv2_cdpd.Predictor is Predictor
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        nnunetv2_cdpd.Nothing  # noqa: B018
    code = "import sys, nnunetv2_cdpd, nnunetv2_cdpd.cli.predict; print('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_preprocessed_cases_can_be_predicted_step_by_step(predictor, image):
    predictor.select(["spleen"])
    case = predictor.preprocess_array(image, SPACING)
    assert isinstance(case, PreprocessedCase) and case.data.shape[0] == 1
    logits = predictor.predict_logits_from_preprocessed_data(case.data)
    labelled = predictor.label_logits(logits, case.properties)
    found, expected = (predictor.export(labels).label_map for labels in (labelled, predictor.label(case)))
    assert (found > 0).any() and (found != expected).mean() < 1e-3  # the logits were rounded to halves
    assert np.array_equal(expected, predictor.predict(image, SPACING, classes=["spleen"]).label_map)


def test_the_example_of_the_documentation_runs(model, image, tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "prediction.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copytree(model, tmp_path / "MODEL_FOLDER")
    write(tmp_path / "scan.nii.gz", image)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example, names)
    assert (tmp_path / "liver.nii.gz").is_file() and names["volume_ml"] > 0
    assert names["label_map"].shape == (20, 48, 40) and names["prediction"].probabilities.shape == (6, 20, 48, 40)


def test_windows_are_reported_and_what_that_raises_ends_the_prediction(model, image, monkeypatch):
    predictor, told = Predictor.from_folder(model, [0, 1], device="cpu"), []
    monkeypatch.setattr(predictor, "report", lambda done, total: told.append((done, total)))
    predictor.predict(image, SPACING)
    (total,) = {total for _, total in told}
    assert [done for done, _ in told] == list(range(1, total + 1))

    def stop(done, total):
        if done == 3:
            raise KeyError(done)

    monkeypatch.setattr(predictor, "report", stop)
    with pytest.raises(KeyError, match="3"):
        predictor.predict(image, SPACING)
