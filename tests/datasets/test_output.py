"""The folder of a new dataset: nnU-Net can take it, and no other dataset has its id."""

import threading
from contextlib import contextmanager

import pytest

from nnunetv2_cdpd.datasets import output
from nnunetv2_cdpd.datasets.output import clear_leftovers, dataset_folder, is_empty, raw_folder
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
    (folder / "dataset.tmp").touch()
    assert is_empty(folder)
    clear_leftovers(folder)
    assert not list(folder.iterdir())
    (folder / "precious.tmp").write_text("")
    clear_leftovers(folder)
    assert not is_empty(folder)


@pytest.mark.parametrize("value", ["", " "])
def test_nnunet_raw_that_is_set_to_nothing_is_no_place(value, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", value)
    with pytest.raises(UserError, match="nnUNet_raw is set to nothing; `export nnUNet_raw="):
        raw_folder()


def test_nnunet_raw_that_is_a_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="nnUNet_raw is .*/file, which is no folder"):
        raw_folder()


def test_two_calls_at_once_take_different_free_ids(raw, monkeypatch):
    """Both find the same id free before either has made its folder."""
    both, host = threading.Barrier(2), output.dataset_folder
    first = threading.local()

    def at_once(name, dataset_id):
        found = host(name, dataset_id)
        if not getattr(first, "done", False):
            first.done = True
            both.wait(10)
        return found

    monkeypatch.setattr(output, "dataset_folder", at_once)
    taken, leave = {}, threading.Barrier(2)

    def convert(name):
        with output.dataset_output(name, None) as folder:
            taken[name] = folder.name
            leave.wait(10)

    threads = [threading.Thread(target=convert, args=(name,)) for name in ("A", "B")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name[:10] for name in taken.values()) == ["Dataset300", "Dataset301"], taken
    assert {name[10:] for name in taken.values()} == {"_A", "_B"} and not list(raw.iterdir())


def test_an_id_that_another_name_takes_meanwhile_is_told(raw, monkeypatch):
    host = output.output_folder

    @contextmanager
    def late(folder, *part):
        with host(folder, *part):
            (raw / "Dataset305_OTHER").mkdir(exist_ok=True)
            yield

    monkeypatch.setattr(output, "output_folder", late)
    with pytest.raises(UserError, match="argument dataset_id 305: taken by Dataset305_OTHER"), output.dataset_output("A", 305):
        pass
    assert [path.name for path in raw.iterdir()] == ["Dataset305_OTHER"]
