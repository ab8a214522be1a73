"""Export to ONNX: the same label maps without PyTorch and nnU-Net, whole files or none, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import SimpleITK as sitk
import torch
from builders import model as tiny_model
from builders.portable import VARIANTS, labelled_case, only, train_model, write_case, write_images, write_variant
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.cli.main import main as cdpd
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference import onnx_graph
from nnunetv2_cdpd.inference.onnx_description import onnx_description_of
from nnunetv2_cdpd.inference.onnx_export import export_onnx
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.runner_file import OTHER_ROOMS, write_runner
from nnunetv2_cdpd.network.slice_encoder import means_of_slices
from nnunetv2_cdpd.portable.description import KEY, Description
from nnunetv2_cdpd.portable.images import read_image
from nnunetv2_cdpd.portable.main import runner_main as runner
from nnunetv2_cdpd.portable.runner import OnnxModel

RUNS_WITH = ("numpy", "onnxruntime", "SimpleITK", "filelock")


def predictor_of(model, folds=None):
    """In single precision, as the graph is, whatever this machine's units."""
    predictor = Predictor.from_folder(model, folds, device="cpu")
    if predictor.network.network.slice_encoder is not None:
        predictor.network.network.slice_encoder.bfloat16_on_cpu = False
    return predictor


def read(file):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model, one image, and what the command writes of the model."""
    folder = tmp_path_factory.mktemp("onnx")
    model = write_variant(folder / "model", "plain")
    torch.set_num_threads(1)
    assert cdpd(["export-onnx", str(model), "-o", str(folder / "m.onnx"), "--runner", str(folder / "r.pyz")]) == 0
    files = write_images(folder / "images")
    predictor_of(model).predict(files[0], output=folder / "expected.nii.gz")
    expected = read(folder / "expected.nii.gz")
    return SimpleNamespace(model=model, onnx=folder / "m.onnx", pyz=folder / "r.pyz", files=files, expected=expected)


def changed(exported, file, change):
    """A copy of the exported model with something else in it."""
    model = onnx.load(exported.onnx)
    change(model)
    onnx.save(model, file)
    return file


def test_the_runner_writes_the_label_map_of_cdpd_predict(exported, tmp_path, capsys):
    output = tmp_path / "labels.nii.gz"
    assert runner(["--threads", "1", str(exported.onnx), *map(str, exported.files), str(output)]) == 0
    assert capsys.readouterr().out == f"written to {output}\n"
    assert (read(output) == exported.expected).mean() >= 0.9999
    assert len(np.unique(exported.expected)) > 4
    ours, theirs = sitk.ReadImage(str(output)), sitk.ReadImage(str(exported.files[0]))
    assert np.allclose(ours.GetDirection(), theirs.GetDirection()) and np.allclose(ours.GetOrigin(), theirs.GetOrigin())


def test_the_packed_runner_needs_nothing_of_ours_torch_or_nnunet(exported, tmp_path):
    """In an environment that holds no other packages: no name of ours, torch or nnU-Net can be imported there."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    environment = {
        "PYTHONPATH": str(only(tmp_path / "packages", *RUNS_WITH)), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"
    }  # fmt: skip
    for name in ("torch", "nnunetv2", "nnunetv2_cdpd", "scipy", "nibabel"):
        absent = subprocess.run([python, "-c", f"import {name}"], env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert f"No module named '{name}'" in absent.stderr
    output = tmp_path / "labels.nii.gz"
    command = [python, exported.pyz, "--threads", "1", exported.onnx, *exported.files, output]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (read(output) == exported.expected).mean() >= 0.9999


def test_without_its_packages_the_runner_says_so_in_a_line(exported, tmp_path):
    command = [sys.executable, "-I", "-S", exported.pyz, exported.onnx, exported.files[0], tmp_path / "labels.nii.gz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: numpy cannot be imported; pip install numpy onnxruntime SimpleITK filelock\n"


def test_the_packed_runner_is_the_same_each_time_and_holds_all_that_it_imports(tmp_path):
    for name in "ab":
        write_runner(tmp_path / f"{name}.pyz")
    assert (tmp_path / "a.pyz").read_bytes() == (tmp_path / "b.pyz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pyz") as archive:
        assert {f"nnunetv2_cdpd/{name}" for name in OTHER_ROOMS} <= set(archive.namelist())


def test_the_room_imports_neither_torch_nor_nnunet():
    imports = "import sys, nnunetv2_cdpd.portable.main, nnunetv2_cdpd.portable.runner"
    script = f"{imports}\nprint({{'torch', 'nnunetv2', 'scipy'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"


def test_what_the_file_says_of_itself(exported, capsys):
    model = onnx.load(exported.onnx)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", onnx_graph.OPSET)]
    (described,) = (entry.value for entry in model.metadata_props)
    description = Description.from_json(described, "m.onnx")
    assert description.classes == dict(zip(tiny_model.CLASSES, range(1, 7))) and description.outputs == tiny_model.CLASSES
    assert (description.patch_size, description.mirror_axes, description.reorient) == ((8, 16, 24), (0, 2), True)
    assert description.about["folds"] == ["0"] and description.about["task"] is None
    assert runner([str(exported.onnx), "--describe"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(described)


def test_the_file_tells_nothing_of_the_machine_and_holds_no_text(exported):
    content = exported.onnx.read_bytes()
    for private in (str(exported.model.parent), os.getcwd(), ".py", "site-packages"):
        assert private.encode() not in content
    names = {each.name for each in onnx.load(exported.onnx).graph.initializer}
    assert not any("embeddings" in name or "class_text" in name for name in names)


def test_batches_of_any_size(exported):
    model = OnnxModel(exported.onnx, 1)
    windows = np.random.default_rng(0).normal(size=(3, 1, 8, 16, 24)).astype(np.float32)
    together = model.logits(windows)
    alone = np.concatenate([model.logits(window[None]) for window in windows])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    image = read_image(exported.files, model.description.channels, model.description.reorient)
    assert np.array_equal(model.predict(image, windows_per_batch=4), model.predict(image))


def test_settings_of_the_windows(exported):
    model, predictor = (
        OnnxModel(exported.onnx, 1),
        Predictor.from_folder(exported.model, device="cpu", tile_step_size=0.8, use_mirroring=False),
    )
    predictor.network.network.slice_encoder.bfloat16_on_cpu = False
    image = read_image(exported.files, model.description.channels, model.description.reorient)
    found = model.predict(image, step_size=0.8, use_mirroring=False)
    turned = predictor.preprocess_files(exported.files)
    assert (found == predictor.label(turned).labels).mean() >= 0.9999
    for settings, told in (({"step_size": 0}, "a step of 0"), ({"windows_per_batch": 0}, "0 windows at a time")):
        with pytest.raises(UserError, match=told):
            model.predict(image, **settings)


# ---- wrong files -----------------------------------------------------------------------------------------------------


def newer(model):
    content = json.loads(model.metadata_props[0].value) | {"format": 2, "made_by": "nnunetv2-cdpd 9"}
    model.metadata_props[0].value = json.dumps(content)


def other_patch(model):
    content = json.loads(model.metadata_props[0].value)
    content["windows"]["patch_size"] = [8, 16, 32]
    model.metadata_props[0].value = json.dumps(content)


def fewer_outputs(model):
    content = json.loads(model.metadata_props[0].value)
    content["decoding"] |= {"outputs": ["liver"], "stored": [0, 1], "rivals": [{"parent": None, "channels": [0]}]}
    model.metadata_props[0].value = json.dumps(content)


def fixed_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def no_metadata(model):
    del model.metadata_props[:]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (no_metadata, "no model of cdpd export-onnx"),
        (lambda model: setattr(model.metadata_props[0], "value", "{"), "its description is damaged"),
        (newer, "a model of nnunetv2-cdpd 9, whose description is of format 2; this runner reads up to 1"),
        (other_patch, r"its graph has image .*, and its description says image \[batch, 1, 8, 16, 32\]"),
        (fewer_outputs, r"its graph has logits .*, and its description says logits \[batch, 1, 8, 16, 24\]"),
        (fixed_batch, "its graph has image"),
    ],
)
def test_models_that_the_runner_refuses(exported, change, told, tmp_path):
    file = changed(exported, tmp_path / "other.onnx", change)
    with pytest.raises(UserError, match=told) as refused:
        OnnxModel(file, 1)
    assert str(refused.value).startswith(f"{file}: ") and "\n" not in str(refused.value)


def test_files_that_are_no_models(exported, tmp_path, capsys):
    torn, text, none = tmp_path / "torn.onnx", tmp_path / "text.onnx", tmp_path / "none.onnx"
    torn.write_bytes(exported.onnx.read_bytes()[:-1000])
    text.write_text("no model")
    for file, told in ((torn, "onnxruntime cannot read it"), (text, "onnxruntime cannot read it"), (none, "no such file")):
        assert runner([str(file), *map(str, exported.files), str(tmp_path / "labels.nii.gz")]) == 1
        message = capsys.readouterr().err
        assert message.startswith(f"error: {file}: {told}") and message.count("\n") == 1
    assert not (tmp_path / "labels.nii.gz").exists()


def test_weights_that_give_no_numbers(exported, tmp_path):
    def spoil(model):
        tensor = next(each for each in model.graph.initializer if each.name.endswith("seg_layers.1.bias") or len(each.dims) == 5)
        array = np.full(list(tensor.dims), np.nan, np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))

    model = OnnxModel(changed(exported, tmp_path / "nan.onnx", spoil), 1)
    image = read_image(exported.files, model.description.channels, model.description.reorient)
    with pytest.raises(UserError, match="logits that are no finite numbers"):
        model.predict(image)


# ---- what is not exported --------------------------------------------------------------------------------------------


def refused(tmp_path, match, capsys=None, **arguments):
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match=match) as error:
        export_onnx(arguments.pop("model"), arguments.pop("output", tmp_path / "m.onnx"), **arguments)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_files_that_are_there_or_have_no_place(exported, tmp_path):
    (tmp_path / "there.onnx").write_text("kept")
    (tmp_path / "there.pyz").write_text("kept")
    refused(tmp_path, "there.onnx: is there already, and stays", model=exported.model, output=tmp_path / "there.onnx")
    refused(tmp_path, "there.pyz: is there already", model=exported.model, runner=tmp_path / "there.pyz")
    refused(tmp_path, r"argument output .*m.pth: name it .onnx", model=exported.model, output=tmp_path / "m.pth")
    refused(tmp_path, "no folder", model=exported.model, output=tmp_path / "none" / "m.onnx")
    assert (tmp_path / "there.onnx").read_text() == "kept"


def test_classes_tasks_and_folds_that_are_none(exported, tmp_path):
    refused(tmp_path, "no class lung", model=exported.model, classes=["lung"])
    refused(tmp_path, "no task", model=exported.model, task="KITS")
    refused(tmp_path, "of fold 3", model=exported.model, folds=[3])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"normalization_schemes": ["NoNormalization"]}, "works"),
        ({"resampling_fn_data_kwargs": {"is_seg": False, "order": 7, "order_z": 0}}, "`resampling_fn_data` is none"),
        ({"resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 3, "order_z": 0}}, "is not linear"),
        ({"previous_stage": "3d_lowres"}, "a cascade's higher stage, which reads the label maps of 3d_lowres"),
    ],
)
def test_what_the_runner_cannot_do_is_refused_by_name(exported, change, told, tmp_path):
    predictor = Predictor.from_folder(exported.model, device="cpu")
    predictor.configuration_manager.configuration.update(change)
    if told == "works":
        assert onnx_description_of(predictor, exported.model, ["0"]).normalizations[0].scheme == "NoNormalization"
        return
    with pytest.raises(UserError, match=told):
        onnx_description_of(predictor, exported.model, ["0"])


def test_a_reader_and_a_normalization_that_are_not_in_the_runner(exported):
    predictor = Predictor.from_folder(exported.model, device="cpu")
    plans = {**predictor.plans_manager.plans, "image_reader_writer": "NaturalImage2DIO"}
    predictor.plans_manager = PlansManager(plans)
    with pytest.raises(UserError, match="images are read by NaturalImage2DIO, which is not in the runner"):
        onnx_description_of(predictor, exported.model, ["0"])
    predictor.plans_manager = PlansManager({**plans, "image_reader_writer": "SimpleITKIO"})
    predictor.configuration_manager.configuration["normalization_schemes"] = ["OwnNormalization"]
    with pytest.raises(UserError, match="normalised by OwnNormalization"):
        onnx_description_of(predictor, exported.model, ["0"])


def test_too_many_weights_for_a_file(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "_MOST_BYTES", 1000)
    refused(tmp_path, "argument folds: their weights take 0.0 GiB, and a file of ONNX holds 2", model=exported.model)


def test_without_onnx_the_command_names_the_extra(exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused(tmp_path, r"onnxscript is not installed; pip install 'nnunetv2-cdpd\[onnx\]'", model=exported.model)


def test_a_failed_check_leaves_nothing(exported, tmp_path, monkeypatch):
    """The exporter's file stands in for a new export of it: what is compared are other weights."""
    program = SimpleNamespace(model_proto=onnx.load(exported.onnx))
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **kwargs: program)
    other = tiny_model.write_model(tmp_path / "other", mirroring=(0, 2))
    refused(tmp_path, "the exported network's logits differ from the model's by", model=other)


def test_pooled_slices_as_pytorch_pools_them(monkeypatch):
    x = torch.randn(2, 1, 10, 3, 4)
    for count in (2, 3, 4, 10):
        expected = torch.nn.functional.adaptive_avg_pool3d(x, (count, None, None))
        with monkeypatch.context() as patch:
            patch.setattr("nnunetv2_cdpd.network.slice_encoder.is_exported", lambda: True)
            torch.testing.assert_close(means_of_slices(x, count), expected)


def test_norms_are_pytorchs():
    for kind, shape in ((torch.nn.InstanceNorm3d, (2, 4, 5, 6, 7)), (torch.nn.InstanceNorm2d, (2, 4, 9, 8))):
        for affine in (False, True):
            norm, x = kind(4, affine=affine, eps=1e-3), 3 + 0.1 * torch.randn(shape)
            for parameter in norm.parameters():
                torch.nn.init.normal_(parameter)
            torch.testing.assert_close(onnx_graph.StepwiseNorm(norm)(x), norm(x), rtol=1e-4, atol=1e-4)


def test_choice_of_classes_is_described(exported):
    """Of a tumor in two possible parents: all that decides about it is an output, and only it is written."""
    predictor = Predictor.from_folder(exported.model, device="cpu")
    predictor.select(["kidney_tumor"])
    description = onnx_description_of(predictor, exported.model, ["0"])
    assert description.classes == {"kidney_tumor": 5}
    assert set(description.stored) == {0, 5} and len(description.outputs) > 1
    assert Description.from_json(description.to_json(), KEY) == description


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "plain"])
def test_every_kind_of_model(name, tmp_path, one_thread):
    model = write_variant(tmp_path / "model", name)
    export_onnx(model, tmp_path / "m.onnx", classes=["liver", "kidney_tumor"] if name == "folds" else None)
    runs, predictor = OnnxModel(tmp_path / "m.onnx", 1), predictor_of(model)
    for shape, spacing in (((26, 21, 34), (0.9, 0.8, 2.0)), ((9, 40, 30), (0.7, 0.7, 6.0))):
        shutil.rmtree(tmp_path / "images", ignore_errors=True)
        files = write_images(tmp_path / "images", VARIANTS[name].get("channels", 1), shape, spacing)
        expected = np.asarray(predictor.predict(files, classes=["liver", "kidney_tumor"] if name == "folds" else None))
        found = runs.predict(read_image(files, runs.description.channels, runs.description.reorient))
        assert (found == expected).mean() >= 0.9999
        assert len(np.unique(expected)) > 1


@pytest.mark.slow
def test_a_trained_model(tmp_path, one_thread):
    """As `cdpd predict` runs it here, in bfloat16 where this machine has it."""
    model = train_model(tmp_path / "model", 250)
    export_onnx(model, tmp_path / "m.onnx")
    runs, predictor = OnnxModel(tmp_path / "m.onnx", 1), Predictor.from_folder(model, device="cpu")
    same, right = [], []
    for seed in (100, 101, 102):
        image, labels = labelled_case(seed)
        turned = tuple(np.argsort(runs.description.transpose))
        write_case(tmp_path / f"{seed}.nii.gz", image.transpose(turned), np.array(runs.description.spacing)[list(turned)])
        expected = np.asarray(predictor.predict(tmp_path / f"{seed}.nii.gz"))
        found = runs.predict(read_image([tmp_path / f"{seed}.nii.gz"], runs.description.channels, runs.description.reorient))
        same.append((found == expected).mean())
        right.append((found == labels.transpose(turned)).mean())
    assert min(right) > 0.9, right
    assert np.mean(same) >= 0.9999
