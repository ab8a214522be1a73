"""What networks say: ours and stock nnU-Net's as they predict by themselves, their classes in terms of the dataset's."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders import model as tiny_model
from builders.completion import stock_plans
from builders.quality import write_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.completion.networks import Networks, _of_class
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.completion.teachers import Teacher, known_classes, read_teachers
from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.predictor import Predictor

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = {"background": 0, "Liver": 1, "liver_tumor": 2, "aorta": 3}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "x_0000.nii.gz"
    write_image(path, 3)
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Of the classes of `builders.model`; without cases."""
    return RawDataset("850", DatasetJson(tmp_path_factory.mktemp("d") / "dataset.json", tiny_model.make_dataset_json()), (), ())


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """A model of stock nnU-Net with plain labels: a softmax."""
    return write_stock(tmp_path_factory.mktemp("stock") / "model")


def write_stock(folder):
    plans = stock_plans(tiny_model.make_plans())
    content = {"channel_names": {"0": "CT"}, "labels": PLAIN, "numTraining": 4, "file_ending": ".nii.gz"}
    folder.mkdir()
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(content))
    manager = PlansManager(plans)
    torch.manual_seed(0)
    configuration = manager.get_configuration(tiny_model.CONFIGURATION)
    network = nnUNetTrainer.build_network_architecture(manager, configuration, 1, len(PLAIN), enable_deep_supervision=False)
    torch.nn.init.normal_(network.decoder.seg_layers[-1].weight, std=2.0)
    (folder / "fold_0").mkdir()
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"plans": plans, "configuration": tiny_model.CONFIGURATION, "fold": 0, "dataset_json": content},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def teacher_of(folder, dataset):
    return read_teachers([folder], dataset, checkpoint_name="checkpoint_final.pth", allow_seen=True)[0]


def answer(teacher, image, classes):
    return next(Networks(CompletionSettings(), "cpu").answers(teacher, [0], [image], classes))


def test_our_network_says_what_it_predicts(tmp_path, dataset, image):
    folder = tiny_model.write_model(tmp_path / "model")
    wanted = [tiny_model.CLASSES.index(name) for name in ("liver", "spleen")]
    said = answer(teacher_of(folder, dataset), image, wanted)
    predicted = Predictor.from_folder(folder, device="cpu").predict(image, probabilities=True)
    for k in wanted:
        probability = predicted.probabilities[k]
        assert said.probability(k).shape == sitk.GetArrayFromImage(sitk.ReadImage(str(image))).shape
        assert np.allclose(said.probability(k), probability, atol=2e-3)


def test_a_softmax_says_of_each_class_what_it_says_of_its_labels_together(stock, dataset, image):
    """The liver of the dataset holds its tumors, which are a label of their own here."""
    teacher = teacher_of(stock, dataset)
    liver, tumor = (tiny_model.CLASSES.index(name) for name in ("liver", "liver_tumor"))
    assert teacher.own_names == {liver: "Liver", tumor: "liver_tumor"}
    said = answer(teacher, image, [liver, tumor])
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(stock), [0])
    array, properties = predictor.plans_manager.image_reader_writer_class().read_images([str(image)])
    labels, probabilities = predictor.predict_single_npy_array(array, properties, save_or_return_probabilities=True)
    assert len(np.unique(labels)) >= 3
    for k, expected in {liver: probabilities[1] + probabilities[2], tumor: probabilities[2]}.items():
        assert np.abs(said.probability(k) - expected).mean() < 0.03  # nnU-Net interpolates before its softmax
        assert ((said.probability(k) > 0.5) == (expected > 0.5)).mean() > 0.98


def test_a_softmax_says_how_much_a_class_is_with_all_that_may_be_of_it(stock, tmp_path, image):
    content = {"labels": {"background": 0, "liver": 1, "aorta": 2}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    dataset = RawDataset("851", DatasetJson(tmp_path / "dataset.json", content), (), ())
    teacher = teacher_of(stock, dataset)
    assert teacher.knows == {0: (0, 1), 1: (2,)} and teacher.undecided == {}  # the liver with its tumor
    assert teacher.undecided_lines(("liver", "aorta")) == []
    said = answer(teacher, image, [0, 1])
    assert not said.at_most and np.array_equal(said.probability_at_most(0), said.probability(0))
    split = replace(teacher, knows={0: (0,), 1: (2,)}, undecided={0: (1,)})
    found = answer(split, image, [0, 1])
    assert list(found.at_most) == [0] and np.array_equal(found.probability_at_most(0), said.probability(0))
    assert (found.probability(0) < said.probability(0)).any() and np.array_equal(found.probability(1), said.probability(1))
    (line,) = split.undecided_lines(("liver", "aorta"))
    assert line.startswith(f"note: {teacher.name}: liver_tumor may be of liver or not; where it finds one, ")


def test_heads_of_a_class_are_joined():
    logits = torch.log(torch.tensor([0.5, 0.2, 0.2, 0.1])).view(4, 1, 1, 1)
    assert torch.sigmoid(_of_class(logits, [1, 2], softmax=True)).item() == pytest.approx(0.4)
    assert _of_class(logits, [1, 3], softmax=False).item() == pytest.approx(np.log(0.2))


def test_classes_are_matched_by_name_and_nested_ones_belong_to_their_parent():
    target = tiny_model.ANNOTATION  # liver holds liver_tumor
    own = Annotation(("hepar", "Left Kidney", "Liver Tumour"), (1, 2, 3), ((1,), (2,), (3,)), (Source("S", ("hepar",)),))
    knows, names = known_classes(target, own)
    assert names == {1: "Liver Tumour", 3: "Left Kidney"}  # no table knows a hepar, so that nothing is known of the liver
    assert knows == {1: (2,), 3: (1,)}
    knows, names = known_classes(target, replace(own, classes=("Liver", "Left Kidney", "Liver Tumour")))
    assert knows[0] == (0, 2) and names[0] == "Liver"
    nested = Annotation(("Liver", "Liver Tumour"), (1, 2), ((1, 2), (2,)), (Source("S", ("Liver",)),))
    assert known_classes(target, nested)[0] == {0: (0,), 1: (1,)}  # its liver holds the tumors already


def test_other_channels_are_refused(stock, tmp_path):
    content = tiny_model.make_dataset_json(channels=2)
    two = RawDataset("850", DatasetJson(tmp_path / "dataset.json", content), (), ())
    with pytest.raises(UserError, match="trained on the channels CT, and .* has CT, CT1"):
        teacher_of(stock, two)


def test_a_cascade_is_refused(tmp_path, dataset, image, monkeypatch):
    folder = tiny_model.write_model(tmp_path / "model")
    stage = SimpleNamespace(configuration_manager=SimpleNamespace(previous_stage_name="3d_lowres"))
    monkeypatch.setattr("nnunetv2_cdpd.completion.networks.load_model", lambda *args: stage)
    with pytest.raises(UserError, match="a cascade, which needs predictions of 3d_lowres"):
        answer(teacher_of(folder, dataset), image, [0])


def test_teachers_are_told_apart_by_their_last_folders(tmp_path, dataset):
    folders = [tiny_model.write_model(tmp_path / name / "run" / "model") for name in ("a", "b")]
    found = read_teachers(folders, dataset, checkpoint_name="checkpoint_final.pth", allow_seen=True)
    assert [teacher.name for teacher in found] == ["a/run/model", "b/run/model"]
    assert isinstance(found[0], Teacher) and len(found[0].checksums[0]) == 64
