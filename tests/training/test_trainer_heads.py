"""A network goes on for the classes and sources that it was trained for, and no fold of another lies beside it."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from builders.training import MERGED, make_trainer

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall_1epoch


@pytest.fixture(scope="module")
def latest(folders):
    """A checkpoint of a training that has begun."""
    trainer = make_trainer(folders)
    trainer.initialize()
    path = Path(trainer.output_folder, "checkpoint_latest.pth")
    trainer.save_checkpoint(str(path))
    (path.parent.parent / "dataset.json").write_text(json.dumps(trainer.dataset_json))
    return path


@pytest.fixture
def dataset_json(folders):
    """That of the preprocessed dataset, as it is after the test too."""
    path = folders / "nnUNet_preprocessed" / MERGED / "dataset.json"
    before = path.read_text()
    yield path
    path.write_text(before)


def other_order(path):
    """As a merge of the same datasets in another order: the classes get other heads."""
    content = json.loads(path.read_text())
    background, first, *others, last = content["labels"]
    order = [content["regions_class_order"][-1], *content["regions_class_order"][:-1]]
    labels = {name: content["labels"][name] for name in (background, last, first, *others)}
    path.write_text(json.dumps(content | {"labels": labels, "regions_class_order": order}))
    return first, last


def other_sources(path):
    content = json.loads(path.read_text())
    first, *others = content["cdpd"]["sources"]
    sources = {name: content["cdpd"]["sources"][name] for name in (*others, first)}
    path.write_text(json.dumps(content | {"cdpd": content["cdpd"] | {"sources": sources}}))
    return f"source {first}", others[0]


@pytest.mark.parametrize("change", [other_order, other_sources])
def test_it_does_not_go_on_for_other_classes_or_sources(folders, latest, dataset_json, change):
    before, now = change(dataset_json)
    with pytest.raises(UserError, match=f"checkpoint_latest.pth: .* other classes or sources .*{before}, now {now}") as told:
        make_trainer(folders, resume=True).load_checkpoint(str(latest))
    assert "merge and preprocess as before" in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("change", [other_order, other_sources])
def test_no_fold_of_other_classes_begins_beside_it(folders, latest, dataset_json, change):
    described = latest.parent.parent / "dataset.json"
    before, text = change(dataset_json)[0], described.read_text()
    with pytest.raises(UserError, match=f"fold_0: trained with other classes or sources .*{before}, now "):
        make_trainer(folders, fold=1).on_train_start()
    assert described.read_text() == text


def test_it_goes_on_where_a_class_is_spelled_otherwise(folders, latest, dataset_json):
    content = json.loads(dataset_json.read_text())
    text = dataset_json.read_text()
    for name in [name for name in content["labels"] if name != "background"]:
        text = text.replace(f'"{name}"', f'"{name.replace("_", " ").title()}"')
    assert text != dataset_json.read_text()
    dataset_json.write_text(text)
    resumed = make_trainer(folders, resume=True)
    resumed.load_checkpoint(str(latest))
    assert resumed.was_initialized


def test_a_training_of_its_own_folder_may_begin_anew(folders, latest, dataset_json):
    """Nothing of another network is there but what is written again."""
    other_order(dataset_json)
    trainer = make_trainer(folders, trainer_class=nnUNetTrainerCDPDSmall_1epoch)
    trainer._check_other_folds()
    assert latest.is_file()


# ---- plans -------------------------------------------------------------------------------------------------------------


def with_changed(plans, key, value):
    """Plans in which an entry of the configuration, or of its network, is another one."""
    changed = deepcopy(plans)
    *above, last = key
    entry = changed["configurations"]["3d_fullres"]
    for name in above:
        entry = entry[name]
    entry[last] = value
    return changed


OTHERWISE = {
    "fused_stages": (("architecture", "arch_kwargs", "fused_stages"), []),
    "text: modulate": (("architecture", "arch_kwargs", "text", "modulate"), False),
    "spacing": (("spacing",), [9.0, 9.0, 9.0]),
    "normalization_schemes": (("normalization_schemes",), ["ZScoreNormalization"]),
}


@pytest.fixture
def other_fold(latest):
    """Write fold 3, trained by these plans; it is gone after the test."""
    folder = latest.parent.parent / "fold_3"
    folder.mkdir()

    def write(plans):
        checkpoint = torch.load(latest, weights_only=False)
        checkpoint["init_args"]["plans"] = plans
        torch.save(checkpoint, folder / "checkpoint_best.pth")

    yield write
    shutil.rmtree(folder)


@pytest.mark.parametrize("told", OTHERWISE)
def test_no_fold_of_another_network_begins_beside_it(folders, other_fold, told):
    trainer = make_trainer(folders, fold=1)
    trainer._check_other_folds()
    other_fold(with_changed(trainer.plans_manager.plans, *OTHERWISE[told]))
    with pytest.raises(UserError, match=rf"fold_3: trained with another network or preprocessing .*\({told}\)"):
        trainer.on_train_start()


def test_a_fold_may_begin_beside_it_whatever_a_start_that_came_to_nothing_left(folders, latest, other_fold):
    trainer = make_trainer(folders, fold=1)
    other_fold(trainer.plans_manager.plans)
    left = latest.parent.parent / "plans.json"
    left.write_text(json.dumps(with_changed(trainer.plans_manager.plans, *OTHERWISE["spacing"])))
    trainer._check_other_folds()
    left.unlink()
    (latest.parent.parent / "fold_3" / "checkpoint_best.pth").write_bytes(b"torn")
    trainer._check_other_folds()


class nnUNetTrainerAbandoned(nnUNetTrainerCDPDSmall_1epoch):
    """In a folder of its own."""


def test_what_a_start_without_a_checkpoint_left_is_not_gone_on_from(folders):
    """`cdpd submit` says --c of every training, also of the first, which may have ended before it saved anything."""
    begun = make_trainer(folders, trainer_class=nnUNetTrainerAbandoned)
    recorded = Path(begun.output_folder_base, "plans.json")
    recorded.parent.mkdir(parents=True, exist_ok=True)
    recorded.write_text(json.dumps(with_changed(begun.plans_manager.plans, *OTHERWISE["text: modulate"])))

    def modulate():
        trainer = make_trainer(folders, resume=True, trainer_class=nnUNetTrainerAbandoned)
        return trainer.configuration_manager.network_arch_init_kwargs["text"]["modulate"]

    assert modulate() is True
    begun.initialize()
    begun.save_checkpoint(str(Path(begun.output_folder, "checkpoint_latest.pth")))
    assert modulate() is False  # there is a network to go on with now
