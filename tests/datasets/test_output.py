"""The folder of a new dataset: nnU-Net can take it, and no other dataset has its id."""

import pytest

from nnunetv2_cdpd.datasets.output import clear_leftovers, dataset_folder, is_empty
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.files import BESIDE


def test_id_of_before_or_the_first_free_one_is_taken(nnunet_folders):
    assert dataset_folder("MINE", None) == nnunet_folders.raw / "Dataset300_MINE"
    (nnunet_folders.results / "Dataset300_OTHER").mkdir()
    assert dataset_folder("MINE", None).name == "Dataset301_MINE"
    (nnunet_folders.raw / "Dataset007_MINE").mkdir()
    assert dataset_folder("MINE", None).name == "Dataset007_MINE"
    assert dataset_folder("MINE", 41).name == "Dataset041_MINE" and not (nnunet_folders.raw / "Dataset041_MINE").exists()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", ".hidden", "tab\t"])
def test_name_that_can_be_no_folder_is_refused(name, nnunet_folders):
    with pytest.raises(UserError, match="argument name"):
        dataset_folder(name, 5)


@pytest.mark.parametrize("dataset_id", [0, 1000, -1])
def test_id_that_is_none_is_refused(dataset_id, nnunet_folders):
    with pytest.raises(UserError, match="argument dataset_id"):
        dataset_folder("MINE", dataset_id)


def test_leftovers_of_a_killed_process_make_no_folder_foreign(nnunet_folders):
    folder = nnunet_folders.raw / "Dataset300_MINE"
    assert is_empty(folder)
    (folder / ".partial/c1").mkdir(parents=True)
    (folder / f"{BESIDE}x").mkdir()
    (folder / f"{BESIDE}x.lock").touch()
    assert is_empty(folder)
    clear_leftovers(folder)
    assert not list(folder.iterdir())
    (folder / "precious").write_text("")
    assert not is_empty(folder)
