"""`extend_model` on a tiny model: what the new folder says and predicts, a second time in a row, stopped and gone on."""

import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from builders.extension import extend, extension_folders, write_dataset
from builders.model import CLASSES, make_image
from builders.prediction import read
from builders.serving import RunningServer, wait_for, write_volume

from nnunetv2_cdpd.datasets.carried import carry
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.extension.work import place_of
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.place.files import LearnedPlace, is_carried, read_place, write_place
from nnunetv2_cdpd.place.model import PlaceModel
from nnunetv2_cdpd.place.references import AxisModel
from nnunetv2_cdpd.quality.files import read_quality_model


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with extension_folders(tmp_path_factory.mktemp("extension")) as folder:
        yield folder


@pytest.fixture(scope="module")
def extended(root):
    carry(root / "model", "cdpd_quality", {"of": "the model"})
    axis = AxisModel(*np.ones((3, len(CLASSES), 2)), 4.0)
    place = PlaceModel(CLASSES, (9,) * len(CLASSES), None, np.full((2, 2), np.nan), (axis, axis, axis))
    write_place(LearnedPlace("Dataset850_Base", place, {}), root / "model" / "place.json")
    return extend(root)


def labels_of(folder):
    return json.loads((folder / "dataset.json").read_text())["labels"]


def logits_of(folder, image):
    predictor = Predictor.from_folder(folder, device="cpu")
    predictor.select(probabilities=True)
    return predictor, predictor.label(predictor.preprocess_array(image, (2.5, 1.1, 1.4)))


def test_the_new_class_gets_the_next_value_and_what_was_there_keeps_its_own(root, extended):
    folder, told = extended
    before, after = labels_of(root / "model"), labels_of(folder)
    assert list(after) == [*before, "aorta"]
    assert {name: after[name] for name in before} == before
    assert after["aorta"] == 7
    assert told[0] == "new: aorta, from 2 cases of Dataset860_More"
    assert told[1] == "known to the model already, used as what excludes the new ones: liver"


def test_former_logits_are_the_same_bit_by_bit_over_a_volume(root, extended):
    image = make_image(seed=5)
    (_, before), (predictor, after) = logits_of(root / "model", image), logits_of(extended[0], image)
    assert predictor.annotation.classes == (*CLASSES, "aorta")
    assert after.logits.shape[0] == 7
    assert torch.equal(after.logits[:6], before.logits)
    known = before.labels > 0
    assert known.any()
    assert (after.labels[known] == before.labels[known]).all()


def test_weights_of_the_model_are_in_the_new_one_as_they_were(root, extended):
    before, after = (torch.load(f / "fold_0" / "checkpoint_final.pth", weights_only=False) for f in (root / "model", extended[0]))
    weights = after["network_weights"]
    assert all(torch.equal(weights[key], value) for key, value in before["network_weights"].items())
    assert {key.split(".")[0] for key in weights.keys() - before["network_weights"].keys()} == {"extensions"}
    assert after["trainer_name"] == "nnUNetTrainerCDPDExtension"


def test_the_task_of_the_new_source_predicts_what_it_annotates(extended):
    predictor = Predictor.from_folder(extended[0], device="cpu")
    prediction = predictor.predict(make_image(seed=5), (2.5, 1.1, 1.4), task="More")
    assert set(prediction.values) == {"liver", "aorta"}


@pytest.mark.slow
def test_an_extended_model_is_extended_again(root, extended):
    write_dataset(root, 861, {"heart": 1})
    folder, _ = extend(root, 861, "twice", "extended")
    assert labels_of(folder)["heart"] == 8
    image = make_image(seed=6)
    (_, before), (_, after) = logits_of(extended[0], image), logits_of(folder, image)
    assert torch.equal(after.logits[:7], before.logits)
    sources = json.loads((folder / "dataset.json").read_text())["cdpd"]["sources"]
    assert list(sources) == ["Liver", "Kidney", "Organs", "More", "More_2"]


def test_the_card_names_the_sources_of_both(extended):
    card = json.loads((extended[0] / "cdpd_card.json").read_text())
    assert {source["name"]: source["cases"] for source in card["sources"]} == {"Liver": 1, "Kidney": 0, "Organs": 0, "More": 2}


def test_the_card_tells_the_loss_that_trained_it_and_not_that_of_the_plans(extended):
    plans = json.loads((extended[0] / "plans.json").read_text())
    assert plans["configurations"]["3d_fullres"]["batch_dice"] is False
    assert json.loads((extended[0] / "cdpd_card.json").read_text())["training"]["batch_dice"] is True


def test_what_is_known_of_where_former_classes_lie_is_kept(extended):
    annotation = Predictor.from_folder(extended[0], device="cpu").annotation
    place = read_place(extended[0], annotation)
    assert place.dataset == "Dataset850_Base"
    assert dict(zip(place.model.classes, place.model.cases)) == {**dict.fromkeys(CLASSES, 9), "aorta": 0}
    assert is_carried(extended[0])
    log = next((extended[0] / "fold_0").glob("training_log_*.txt")).read_text()
    assert "knows nothing of where aorta can lie; `cdpd place DATASET -o MODEL_FOLDER` learns it" in log


def test_the_training_log_names_the_card_where_it_is(extended):
    log = next((extended[0] / "fold_0").glob("training_log_*.txt")).read_text()
    assert f"Model card: {extended[0] / 'cdpd_card.md'}" in log and ".extending/cdpd_card.md" not in log


def test_what_is_there_stays(root, extended):
    with pytest.raises(UserError, match="extended: is there already, and stays"):
        extend(root)


@pytest.mark.parametrize("place", ["model/new", "nnUNet_raw/Dataset860_More/new", "nnUNet_raw/Dataset860_More/imagesTr/new"])
def test_a_place_in_a_model_or_dataset_is_refused(root, place):
    with pytest.raises(UserError, match="argument output .*new: lies in .*, which holds a dataset or a model"):
        extend(root, output=place)
    assert not (root / place).parent.joinpath("new.extending").exists()


def test_an_id_of_another_dataset_is_refused(root):
    with pytest.raises(UserError, match="argument output Dataset860_Other: its id is taken by Dataset860_More"):
        place_of(Path("Dataset860_Other"), "trainer", "plans", "3d_fullres")
    mine = place_of(Path("Dataset860_More"), "trainer", "plans", "3d_fullres")
    assert mine == root / "nnUNet_results" / "Dataset860_More" / "trainer__plans__3d_fullres"


def test_a_device_that_is_not_here_is_told_before_anything_is_done(root, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device, why in (("cuda", "finds no GPU here"), ("mps", "finds no GPU of Apple's"), ("gpu", "no device; give cuda")):
        with pytest.raises(UserError, match=f"argument device {device}: .*{why}"):
            extend(root, output="none", device=device)
    assert not (root / "none.extending").exists()


def test_a_new_class_without_a_voxel_is_refused(root):
    folder = write_dataset(root, 866, {"aorta": 1})
    content = json.loads((folder / "dataset.json").read_text())
    content["labels"]["esophagus"] = 2
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="Dataset866_More: no voxel of esophagus in any case"):
        extend(root, 866, "none")
    assert not (root / "none.extending").exists()


def test_what_is_known_of_the_quality_of_the_model_is_not_said_of_the_extended_one(root, extended):
    assert "cdpd_quality" in json.loads((root / "model" / "dataset_fingerprint.json").read_text())
    assert "cdpd_quality" not in json.loads((extended[0] / "dataset_fingerprint.json").read_text())
    with pytest.raises(UserError, match="an extended model, all of whose further cases were trained on"):
        read_quality_model(extended[0])


def test_datasets_to_compare_on_are_checked_before_anything_is_done(root):
    other = write_dataset(root, 867, {"liver": 1}, channels=("T1",))
    with pytest.raises(UserError, match="Dataset867_More: channel_names are T1, those of model CT"):
        extend(root, output="none", compare=[other])
    assert not (root / "none.extending").exists()


def test_a_full_disk_is_told_with_the_way_to_go_on(root, monkeypatch):
    monkeypatch.setattr("nnunetv2_cdpd.training.checkpoints.save_whole", lambda *_: "no space left")
    with pytest.raises(UserError, match="cannot be saved .no space left.; make room and go on with the same command$"):
        extend(root, output="full")
    assert not (root / "full").exists()


def test_nothing_new_is_an_error(root):
    write_dataset(root, 862, {"Liver": 1, "Spleen": 2})
    with pytest.raises(UserError, match="nothing new for .*model, which has all of liver, spleen already"):
        extend(root, 862, "none")
    assert not (root / "none.extending").exists()


@pytest.mark.parametrize(("number", "channels"), [(863, ("CT", "PET")), (864, ("T1",))])
def test_other_channels_are_an_error(root, number, channels):
    write_dataset(root, number, {"aorta": 1}, channels=channels)
    with pytest.raises(UserError, match=f"channel_names are {', '.join(channels)}, those of model CT"):
        extend(root, number, "none")


def test_a_fold_of_other_plans_is_not_extended(root):
    """The extended model would have one for all folds, by which nothing could tell any more."""
    model = shutil.copytree(root / "model", root / "of_two_plans")
    checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)
    (name,) = checkpoint["init_args"]["plans"]["configurations"]
    checkpoint["init_args"]["plans"]["configurations"][name]["spacing"] = [9.0, 9.0, 9.0]
    (model / "fold_1").mkdir()
    torch.save(checkpoint, model / "fold_1" / "checkpoint_final.pth")
    with pytest.raises(UserError, match=r"fold_1/checkpoint_final.pth: trained with another network .*\(spacing\)"):
        extend(root, output="never", model="of_two_plans")
    assert not (root / "never").exists()


def test_an_unfinished_model_is_an_error(root):
    with pytest.raises(UserError, match="no fold_0/checkpoint_best.pth; train first"):
        extend(root, output="none", checkpoint_name="checkpoint_best.pth")


def test_a_label_value_that_nothing_declares_is_told_by_file(root):
    folder = write_dataset(root, 865, {"aorta": 1, "heart": 2})
    content = json.loads((folder / "dataset.json").read_text())
    del content["labels"]["heart"]
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"case 'case_0': .*case_0.nii.gz"):
        extend(root, 865, "none")


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on(root, monkeypatch):
    from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDExtension import nnUNetTrainerCDPDExtension as trainer

    epochs, begin = [], trainer.on_train_epoch_start

    def stop_at_the_third(self):
        begin(self)
        epochs.append(self.current_epoch)
        if len(epochs) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "on_train_epoch_start", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        extend(root, output="stopped", epochs=4)
    assert not (root / "stopped").exists()
    with pytest.raises(UserError, match="was begun from another model, dataset or other options"):
        extend(root, output="stopped", epochs=5)
    folder, _ = extend(root, output="stopped", epochs=4)
    assert epochs == [0, 1, 2, 2, 3]
    assert not (root / "stopped.extending").exists()
    assert torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=False)["current_epoch"] == 4


@pytest.mark.slow
def test_unfrozen_everything_is_trained_but_the_vision_encoder_and_both_models_are_compared(root, extended):
    folder, told = extend(root, output="unfrozen", unfreeze=True)
    assert any(line.endswith("2 of them before") for line in told)  # preprocessed for the other extension
    before, after = (torch.load(f / "fold_0" / "checkpoint_final.pth", weights_only=False) for f in (root / "model", folder))
    weights, kept = after["network_weights"], before["network_weights"]
    changed = {key.split(".")[0] for key, value in kept.items() if not torch.equal(weights[key], value)}
    assert {"encoder", "decoder", "modulations"} <= changed
    assert "slice_encoder" not in changed
    assert after["trainer_name"] == "nnUNetTrainerCDPDExtensionUnfrozen"
    table = {tuple(line.split()[:3]): line.split() for line in told[-2].splitlines()}
    assert table["Dataset860_More", "aorta", "2"][3] == "-"
    assert float(table["Dataset860_More", "liver", "2"][3]) >= 0
    assert table["Dataset860_More", "liver", "2"][-2:] == ["the", "annotation"]
    assert float(table["Dataset860_More", "spleen", "2"][4]) > 0.5


@pytest.mark.slow
def test_an_extended_model_is_exported_as_onnx(root, extended):
    from nnunetv2_cdpd.inference.onnx_export import export_onnx

    exported = export_onnx(extended[0], root / "extended.onnx")
    assert exported.difference < 1e-3
    assert len(exported.description.outputs) == 7


@pytest.mark.slow
def test_an_extended_model_is_served(root, extended, tmp_path):
    """`cdpd serve` in its own process predicts what this one does, all classes and those of the new source alone."""
    volume = write_volume(tmp_path / "scan.nii.gz")
    predictor = Predictor.from_folder(extended[0], device="cpu")
    with (
        RunningServer(f"more={extended[0]}", "--state", tmp_path / "state") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        for query, settings in (("", {}), ("?task=More", {"task": "More"})):
            job = wait_for(client, client.post(f"/jobs{query}", content=volume.read_bytes()).json()["id"])
            assert job["state"] == "done", job["error"]
            (tmp_path / "map.nii.gz").write_bytes(client.get(f"/jobs/{job['id']}/label_map").content)
            expected = predictor.predict(volume, **settings)
            assert "aorta" in expected.values
            np.testing.assert_array_equal(read(tmp_path / "map.nii.gz"), expected.label_map)
