"""nnU-Net finds our classes, in every way in which people install it, and is as it was once we are gone."""

import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import venv
from importlib import metadata, util
from pathlib import Path

import pytest
from conftest import build_wheel

from nnunetv2_cdpd import link
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError

HOST_FOLDERS = ("training/nnUNetTrainer", "experiment_planning/experiment_planners")


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


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_link_writes_one_file_beside_trainers_and_one_beside_planners(skeleton, capsys):
    before = files_of(skeleton)
    assert main(["link"]) == 0
    added = set(files_of(skeleton)) - set(before)
    assert added == {f"{part}/cdpd_link.py" for part in HOST_FOLDERS}
    assert capsys.readouterr().out.count("wrote ") == 2


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
    other = path.read_text().replace("link file version 1", "link file version 99")
    path.write_text(other)
    assert link.link_state(path) == "outdated"
    assert main(["link", "--check"]) == 1
    assert link.link() == [path]
    assert link.link_state(path) == "linked"
    path.write_text(other)
    assert len(link.unlink()) == 2


@pytest.mark.parametrize("content", [b"x = 1\n", b"", b"\xff\xfe\x00 not text"])
def test_file_of_that_name_that_is_not_ours_is_left_alone(skeleton, content, capsys):
    trainers, planners = link.link_paths(skeleton)
    planners.write_bytes(content)
    assert main(["link"]) == 1
    assert f"{planners} was not written by cdpd link" in capsys.readouterr().err
    assert planners.read_bytes() == content
    assert not trainers.exists()
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
    old = path.read_text().replace("link file version 1", "link file version 0")
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


def test_module_of_the_same_name_is_not_taken_for_the_class(forwarding, stand_in):
    import stand_in_trainers.nnUNetTrainerCDPD  # noqa: F401  Python sets the module as attribute of the package

    assert isinstance(forwarding.nnUNetTrainerCDPD, type)
    assert "stand_in_trainers.aaa" not in sys.modules  # its own module first


@pytest.mark.parametrize("name", ["nnUNetTrainer", "nnUNetTrainerDiceLoss", "ExperimentPlanner", "__path__", "CDPD"])
def test_other_names_are_not_forwarded(forwarding, name, monkeypatch):
    monkeypatch.setattr(link, "find_class", lambda name: pytest.fail("asked for a name that is not ours"))
    assert not hasattr(forwarding, name)


@pytest.mark.parametrize("name", ["nnUNetTrainerCDPD_unknown", "nnUNetTrainerCDPD_number"])
def test_name_of_ours_that_is_no_class_is_an_ordinary_missing_attribute(forwarding, stand_in, name):
    assert not hasattr(forwarding, name)


def test_broken_dependency_of_ours_is_not_hidden(forwarding, stand_in):
    (stand_in / "bbb.py").write_text("import a_package_that_is_missing\n")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_missing"):
        forwarding.nnUNetTrainerCDPD_unknown


# ---- nnU-Net's own look-ups, in environments of their own ------------------------------------------------------------

# What nnU-Net's commands do, in the order in which an import of ours would show.
PROBE = """
import importlib.util, json, os, pickle, sys
import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as trainer

def planner(name):
    folder = os.path.join(nnunetv2.__path__[0], "experiment_planning")
    return recursive_find_python_class(folder, name, current_module="nnunetv2.experiment_planning")

def report(look_up, name):
    try:
        found = look_up(name)
    except RuntimeError as error:
        assert "Could not find requested nnunet trainer" in str(error), error
        found = None
    if found is not None:
        assert pickle.loads(pickle.dumps(found)) is found
    answer[name] = found and found.__module__

answer = {"nnunetv2": nnunetv2.__path__[0]}
for name in ("nnUNetTrainer", "nnUNetTrainerDiceLoss"):
    report(trainer, name)
for name in ("ExperimentPlanner", "ResEncUNetPlanner"):
    report(planner, name)
answer["imports of ours"] = sorted(name for name in sys.modules if name.startswith("nnunetv2_cdpd"))
for name in ("nnUNetTrainerCDPD", "nnUNetTrainerCDPD_5epochs", "nnUNetTrainerCDPD_unknown"):
    report(trainer, name)
report(planner, "nnUNetPlannerCDPD")
answer["open_clip"] = "open_clip" in sys.modules  # timm is imported by nnU-Net itself
print(json.dumps(answer))
"""

STOCK = {
    "nnUNetTrainer": "nnunetv2.training.nnUNetTrainer.nnUNetTrainer",
    "nnUNetTrainerDiceLoss": "nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerDiceLoss",
    "ExperimentPlanner": "nnunetv2.experiment_planning.experiment_planners.default_experiment_planner",
    "ResEncUNetPlanner": "nnunetv2.experiment_planning.experiment_planners.resencUNet_planner",
    "imports of ours": [],
    "nnUNetTrainerCDPD_unknown": None,
    "open_clip": False,
}
OUR_TRAINERS = {
    "nnUNetTrainerCDPD": "nnunetv2_cdpd.trainers.nnUNetTrainerCDPD",
    "nnUNetTrainerCDPD_5epochs": "nnunetv2_cdpd.trainers.variants",
}
OUR_PLANNER = {"nnUNetPlannerCDPD": "nnunetv2_cdpd.planners.nnUNetPlannerCDPD"}


class Environment:
    """A virtual environment with everything that the running one has, except nnunetv2 and our package."""

    def __init__(self, folder, packages):
        venv.create(folder, with_pip=False, symlinks=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.site_packages = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        (self.site_packages / "packages.pth").write_text(f"{packages}\n")

    def run(self, *arguments, check=True, **variables):
        inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        process = subprocess.run(
            [self.python, *arguments], cwd=self.folder, env={**inherited, **variables}, capture_output=True, text=True
        )
        assert not check or process.returncode == 0, process.stdout + process.stderr
        return process

    def pip(self, command, *arguments):
        offline = ["--no-deps", "--no-build-isolation", "--no-index"] if command == "install" else ["--yes"]
        return self.run("-m", "pip", command, *offline, *arguments)

    def cdpd(self, *arguments, **options):
        return self.run(self.folder / "bin" / "cdpd", *arguments, **options)

    def probe(self, **variables):
        """What nnU-Net's look-ups find, without where nnunetv2 lies."""
        answer = json.loads(self.run("-c", PROBE, **variables).stdout.splitlines()[-1])
        self.nnunetv2 = Path(answer.pop("nnunetv2"))
        return answer


def not_found(*groups):
    return {name: None for group in groups for name in group}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Folder of links to all installed packages but nnunetv2 and ours."""
    folder = tmp_path_factory.mktemp("packages")
    for site in (Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")):
        for entry in site.iterdir():
            ours_or_host = entry.name.lower().replace("-", "_").startswith(("nnunet", "__editable__"))
            if not ours_or_host and entry.suffix != ".pth" and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="module")
def nnunet_clone(tmp_path_factory):
    """nnU-Net's repository as far as installing goes: its package, and its pyproject.toml's layout."""
    folder = tmp_path_factory.mktemp("nnUNet")
    origin = Path(util.find_spec("nnunetv2").origin).parent
    ignored = shutil.ignore_patterns("__pycache__", "cdpd_link.py", "nnunetv2_cdpd_*.py")
    shutil.copytree(origin, folder / "nnunetv2", ignore=ignored)
    (folder / "pyproject.toml").write_text(
        "[build-system]\n"
        'requires = ["setuptools>=67.8.0"]\n'
        'build-backend = "setuptools.build_meta"\n'
        "[project]\n"
        'name = "nnunetv2"\n'
        f'version = "{metadata.version("nnunetv2")}"\n'
        "[tool.setuptools.packages.find]\n"
        'include = ["nnunetv2*"]\n'
    )
    return folder


@pytest.fixture(scope="module")
def nnunet_wheel(nnunet_clone, tmp_path_factory):
    project = tmp_path_factory.mktemp("build") / "nnUNet"
    shutil.copytree(nnunet_clone, project)
    return build_wheel(project, tmp_path_factory.mktemp("nnunet_wheel"))


@pytest.fixture
def environment(tmp_path, packages):
    return Environment(tmp_path / "environment", packages)


def test_life_of_an_installation(environment, nnunet_wheel, nnunet_clone, project_wheel):
    """Install, link, uninstall ours, install it again, install nnunetv2 again, replace it by an editable one."""
    environment.pip("install", nnunet_wheel, project_wheel)
    nothing_of_ours = STOCK | not_found(OUR_TRAINERS, OUR_PLANNER)
    everything = STOCK | OUR_TRAINERS | OUR_PLANNER
    assert environment.probe() == nothing_of_ours

    environment.cdpd("link")
    assert environment.probe() == everything
    assert environment.nnunetv2 == environment.site_packages / "nnunetv2"

    environment.pip("uninstall", "nnunetv2-cdpd")
    assert environment.probe() == nothing_of_ours

    environment.pip("install", project_wheel)
    assert environment.cdpd("link", "--check").returncode == 0
    environment.pip("install", "--force-reinstall", nnunet_wheel)
    assert environment.cdpd("link", "--check", check=False).returncode == 1
    environment.cdpd("link")
    assert environment.probe() == everything

    # Link files left behind in site-packages would hide the editable package.
    environment.pip("install", "--editable", nnunet_clone)
    assert not (environment.site_packages / "nnunetv2").exists()
    assert environment.probe() == nothing_of_ours
    assert environment.nnunetv2 == nnunet_clone / "nnunetv2"


def test_nnunetv2_installed_editable_from_a_clone(environment, nnunet_clone, project_wheel, tmp_path):
    clone = tmp_path / "nnUNet"
    shutil.copytree(nnunet_clone, clone)
    before = files_of(clone / "nnunetv2")
    environment.pip("install", "--editable", clone, project_wheel)
    environment.cdpd("link")
    assert environment.probe() == STOCK | OUR_TRAINERS | OUR_PLANNER
    assert environment.nnunetv2 == clone / "nnunetv2"
    assert not (environment.site_packages / "nnunetv2").exists()
    environment.cdpd("link", "--remove")
    assert [name for name in files_of(clone / "nnunetv2") if "__pycache__" not in name] == before


def test_trainers_are_found_without_the_link_through_nnunets_own_variable(environment, nnunet_wheel, project_wheel):
    environment.pip("install", nnunet_wheel, project_wheel)
    folder = environment.cdpd("link", "--path").stdout.strip()
    answer = environment.probe(nnUNet_extTrainer=folder)
    assert answer == STOCK | OUR_TRAINERS | not_found(OUR_PLANNER)


def test_link_files_are_entered_in_the_list_of_nnunetv2s_installer(environment, nnunet_wheel, project_wheel):
    environment.pip("install", nnunet_wheel, project_wheel)
    (record,) = environment.site_packages.glob("nnunetv2-*.dist-info/RECORD")
    before = record.read_text()
    environment.cdpd("link")
    lines = set(record.read_text().splitlines()) - set(before.splitlines())
    assert {line.split(",")[0] for line in lines} == {f"nnunetv2/{part}/cdpd_link.py" for part in HOST_FOLDERS}
    environment.cdpd("link", "--remove")
    assert record.read_text() == before


def test_our_package_installed_editable(environment, nnunet_wheel, project_copy, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(project_copy, project, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    environment.pip("install", nnunet_wheel, "--editable", project)
    environment.cdpd("link")
    assert environment.probe() == STOCK | OUR_TRAINERS | OUR_PLANNER
