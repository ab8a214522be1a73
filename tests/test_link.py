"""The files of `cdpd link`: what is written where, what is left alone, and what they forward."""

import importlib
import os
import pickle
import shutil
import sys
from importlib import util
from pathlib import Path

import pytest
from builders.project import HOST_FOLDERS, files_of

from nnunetv2_cdpd import link
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError

# ---- the files, on a skeleton of nnunetv2 ----------------------------------------------------------------------------


@pytest.fixture
def skeleton(tmp_path, monkeypatch):
    """An nnunetv2 package with nothing but the folders that matter, which `import nnunetv2` would take."""
    folder = tmp_path / "path" / "nnunetv2"
    for part in HOST_FOLDERS:
        (folder / part).mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "nnunetv2", raising=False)
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_link_writes_one_file_beside_trainers_planners_and_resampling(skeleton, capsys):
    before = files_of(skeleton)
    assert main(["link"]) == 0
    added = set(files_of(skeleton)) - set(before)
    assert added == {f"{part}/cdpd_link.py" for part in HOST_FOLDERS}
    assert capsys.readouterr().out.count("wrote ") == 3


def test_linking_again_changes_nothing(skeleton, capsys):
    main(["link"])
    times = [path.stat().st_mtime_ns for path in link.link_paths(skeleton)]
    capsys.readouterr()
    assert main(["link"]) == 0
    assert capsys.readouterr().out == f"already linked: {skeleton}\n"
    assert [path.stat().st_mtime_ns for path in link.link_paths(skeleton)] == times


def test_check_tells_and_its_exit_code_too(skeleton, capsys):
    assert main(["link", "--check"]) == 1
    assert "missing" in capsys.readouterr().out
    main(["link"])
    assert main(["link", "--check"]) == 0
    link.link_paths(skeleton)[0].unlink()
    assert main(["link", "--check"]) == 1


def test_remove_takes_away_what_link_wrote(skeleton, capsys):
    before = files_of(skeleton)
    main(["link"])
    assert main(["link", "--remove"]) == 0
    assert files_of(skeleton) == before
    capsys.readouterr()
    assert main(["link", "--remove"]) == 0
    assert capsys.readouterr().out == f"nothing to remove in {skeleton}\n"


def test_files_of_another_version_are_replaced_and_removed(skeleton):
    main(["link"])
    path = link.link_paths(skeleton)[1]
    other = path.read_text().replace("link file version ", "link file version 99")
    path.write_text(other)
    assert link.link_state(path) == "outdated"
    assert main(["link", "--check"]) == 1
    assert link.link() == [path]
    assert link.link_state(path) == "linked"
    path.write_text(other)
    assert len(link.unlink()) == 3


def test_links_of_before_there_was_resampling_are_told_and_completed(skeleton, capsys):
    *before, resampling = link.link_paths(skeleton)
    for path in before:
        path.write_text('"""Written by `cdpd link` (link file version 1), ..."""\n')
    assert main(["link", "--check"]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["outdated", "outdated", "missing", "run:"]
    assert link.link() == [*before, resampling]
    assert main(["link", "--check"]) == 0
    assert len(link.unlink()) == 3


@pytest.mark.parametrize("content", [b"x = 1\n", b"", b"\xff\xfe\x00 not text"])
def test_file_of_that_name_that_is_not_ours_is_left_alone(skeleton, content, capsys):
    trainers, planners, resampling = link.link_paths(skeleton)
    planners.write_bytes(content)
    assert main(["link"]) == 1
    assert f"{planners} was not written by cdpd link" in capsys.readouterr().err
    assert planners.read_bytes() == content
    assert not trainers.exists() and not resampling.exists()
    link.unlink()
    assert planners.read_bytes() == content


def read_only(*arguments):
    raise PermissionError(13, "Permission denied")


def test_read_only_nnunetv2_gives_the_two_ways_out_in_one_line(skeleton, monkeypatch, capsys):
    monkeypatch.setattr(Path, "write_bytes", read_only)
    assert main(["link"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(skeleton) in error and "Permission denied" in error
    assert 'export nnUNet_extTrainer="$(cdpd link --path)"' in error and "cdpd plan" in error
    assert files_of(skeleton) == ["__init__.py"]


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_folders_without_write_permission_are_read_only(skeleton):
    for part in HOST_FOLDERS:
        (skeleton / part).chmod(0o555)
    try:
        with pytest.raises(UserError, match="cannot be written to"):
            link.link()
    finally:
        for part in HOST_FOLDERS:
            (skeleton / part).chmod(0o755)


def test_failed_replacement_leaves_the_old_file_and_no_rest(skeleton, monkeypatch):
    link.link()
    path = link.link_paths(skeleton)[0]
    old = path.read_text().replace("link file version ", "link file version 0")
    path.write_text(old)
    monkeypatch.setattr(os, "replace", read_only)
    with pytest.raises(UserError, match="cannot be written to"):
        link.link()
    assert path.read_text() == old
    assert list(path.parent.iterdir()) == [path]


def test_way_out_keeps_the_users_other_trainer_folders(skeleton, monkeypatch, capsys):
    monkeypatch.setattr(Path, "write_bytes", read_only)
    monkeypatch.setenv("nnUNet_extTrainer", "/home/me/trainers")
    main(["link"])
    assert f'"$(cdpd link --path){os.pathsep}$nnUNet_extTrainer"' in capsys.readouterr().err


def test_files_that_cannot_be_deleted_are_named(skeleton, monkeypatch):
    link.link()
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(UserError, match=r"cdpd_link.py cannot be deleted \(Permission denied\)"):
        link.unlink()


def test_an_error_of_which_the_system_says_nothing_has_its_kind_for_a_reason(skeleton, monkeypatch):
    def failing(*arguments, **options):
        raise OSError

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(UserError, match=r"cannot be written to \(OSError\); instead"):
        link.link()
    monkeypatch.undo()
    monkeypatch.syspath_prepend(skeleton.parent)
    link.link()
    monkeypatch.setattr(Path, "unlink", failing)
    with pytest.raises(UserError, match=r"cannot be deleted \(OSError\)"):
        link.unlink()


def test_ensure_linked_says_so_in_one_line_and_only_once(skeleton, capsys):
    link.ensure_linked()
    assert capsys.readouterr() == ("", f"cdpd: linked to nnU-Net in {skeleton} (`cdpd link --remove` undoes it)\n")
    link.ensure_linked()
    assert capsys.readouterr() == ("", "")


def test_ensure_linked_goes_on_where_nnunetv2_is_read_only(skeleton, monkeypatch, capsys):
    monkeypatch.setattr(Path, "write_bytes", read_only)
    link.ensure_linked()
    error = capsys.readouterr().err
    assert error.startswith("cdpd: note: ") and error.count("\n") == 1
    monkeypatch.setenv("nnUNet_extTrainer", str(link.EXT_TRAINER_FOLDER))  # the user took the way out
    link.ensure_linked()
    assert capsys.readouterr().err == ""


def test_ensure_linked_goes_on_where_nnunetv2_cannot_be_looked_at(monkeypatch, capsys):
    def forbidden():
        raise PermissionError(13, "Permission denied", "/opt/nnunetv2")

    monkeypatch.setattr(link, "find_nnunetv2", forbidden)
    link.ensure_linked()
    error = capsys.readouterr().err
    assert error.startswith("cdpd: note: ") and "/opt/nnunetv2" in error and error.count("\n") == 1


def test_missing_nnunetv2_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "nnunetv2", raising=False)
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="nnunetv2 is not installed for .*pip install"):
        link.link()


def test_nnunetv2_of_another_layout_is_refused(skeleton):
    shutil.rmtree(skeleton / "experiment_planning")
    with pytest.raises(UserError, match="has no folder experiment_planning/experiment_planners"):
        link.link()


def test_left_over_folder_is_not_taken_for_nnunetv2(skeleton, monkeypatch):
    (skeleton / "__init__.py").unlink()
    monkeypatch.setattr(sys, "path", [str(skeleton.parent)])  # a complete nnunetv2 further on would win
    with pytest.raises(UserError, match="holds no nnU-Net, only files that one left behind"):
        link.link()


def test_path_prints_a_folder_with_the_forwarding_file(capsys):
    assert main(["link", "--path"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert [path.name for path in folder.glob("*.py")] == ["cdpd_link.py"]


# ---- the forwarding file ---------------------------------------------------------------------------------------------


@pytest.fixture
def forwarding(monkeypatch):
    monkeypatch.syspath_prepend(link.EXT_TRAINER_FOLDER)
    monkeypatch.delitem(sys.modules, "cdpd_link", raising=False)
    yield importlib.import_module("cdpd_link")
    sys.modules.pop("cdpd_link", None)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A package with a trainer and a variant in modules of their own, in place of our trainers."""
    package = tmp_path / "stand_in_trainers"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "aaa.py").write_text("class nnUNetTrainerCDPD_5epochs: pass\nnnUNetTrainerCDPD_number = 5\n")
    (package / "nnUNetTrainerCDPD.py").write_text("class nnUNetTrainerCDPD: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(link.FOLDER_OF_PREFIX, "nnUNetTrainerCDPD", "stand_in_trainers")
    yield package
    for name in [name for name in sys.modules if name.startswith("stand_in_trainers")]:
        del sys.modules[name]


def test_forwarded_class_pickles(forwarding, stand_in):
    found = forwarding.nnUNetTrainerCDPD_5epochs
    assert found.__module__ == "stand_in_trainers.aaa"
    assert pickle.loads(pickle.dumps(found)) is found


def test_forwarded_function_that_resamples_pickles(forwarding):
    found = forwarding.cdpd_resample_by_axis
    assert found.__name__ == link.RESAMPLING and pickle.loads(pickle.dumps(found)) is found
    assert link.own_resampling(link.RESAMPLING) is found and link.own_resampling("resample_by_axis") is None


def test_module_of_the_same_name_is_not_taken_for_the_class(forwarding, stand_in):
    import stand_in_trainers.nnUNetTrainerCDPD  # noqa: F401  Python sets the module as attribute of the package

    assert isinstance(forwarding.nnUNetTrainerCDPD, type)
    assert "stand_in_trainers.aaa" not in sys.modules  # its own module first


@pytest.mark.parametrize(
    "name", ["nnUNetTrainer", "nnUNetTrainerDiceLoss", "ExperimentPlanner", "resample_torch_fornnunet", "__path__", "CDPD"]
)
def test_other_names_are_not_forwarded(forwarding, name, monkeypatch):
    monkeypatch.setattr(link, "find_class", lambda name: pytest.fail("asked for a name that is not ours"))
    assert not hasattr(forwarding, name)


@pytest.mark.parametrize("name", ["nnUNetTrainerCDPD_unknown", "nnUNetTrainerCDPD_number", "cdpd_resample_unknown"])
def test_name_of_ours_that_is_no_class_is_an_ordinary_missing_attribute(forwarding, stand_in, name):
    assert not hasattr(forwarding, name)


def test_broken_dependency_of_ours_is_not_hidden(forwarding, stand_in):
    (stand_in / "bbb.py").write_text("import a_package_that_is_missing\n")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_missing"):
        _ = forwarding.nnUNetTrainerCDPD_unknown
