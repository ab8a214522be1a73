"""nnU-Net finds our classes in real environments: installed from a wheel or editable, linked, reinstalled, uninstalled."""

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib import metadata, util
from pathlib import Path

import pytest
from builders.project import HOST_FOLDERS, build_wheel, files_of

# What nnU-Net's commands do, in the order in which an import of ours would show.
PROBE = """
import importlib.util, json, os, pickle, sys
import nnunetv2
from nnunetv2.preprocessing.resampling.utils import recursive_find_resampling_fn_by_name as resampling
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as trainer

def planner(name):
    folder = os.path.join(nnunetv2.__path__[0], "experiment_planning")
    return recursive_find_python_class(folder, name, current_module="nnunetv2.experiment_planning")

def report(look_up, name):
    try:
        found = look_up(name)
    except RuntimeError as error:
        assert "Could not find requested nnunet trainer" in str(error) or "resampling function named" in str(error), error
        found = None
    if found is not None:
        assert pickle.loads(pickle.dumps(found)) is found
    answer[name] = found and found.__module__

answer = {"nnunetv2": nnunetv2.__path__[0]}
for name in ("nnUNetTrainer", "nnUNetTrainerDiceLoss"):
    report(trainer, name)
for name in ("ExperimentPlanner", "ResEncUNetPlanner"):
    report(planner, name)
report(resampling, "resample_data_or_seg_to_shape")
answer["imports of ours"] = sorted(name for name in sys.modules if name.startswith("nnunetv2_cdpd"))
for name in ("nnUNetTrainerCDPD", "nnUNetTrainerCDPD_5epochs", "nnUNetTrainerCDPD_unknown"):
    report(trainer, name)
report(planner, "nnUNetPlannerCDPD")
report(resampling, "cdpd_resample_by_axis")
answer["open_clip"] = "open_clip" in sys.modules  # timm is imported by nnU-Net itself
print(json.dumps(answer))
"""

STOCK = {
    "nnUNetTrainer": "nnunetv2.training.nnUNetTrainer.nnUNetTrainer",
    "nnUNetTrainerDiceLoss": "nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerDiceLoss",
    "ExperimentPlanner": "nnunetv2.experiment_planning.experiment_planners.default_experiment_planner",
    "ResEncUNetPlanner": "nnunetv2.experiment_planning.experiment_planners.resencUNet_planner",
    "resample_data_or_seg_to_shape": "nnunetv2.preprocessing.resampling.default_resampling",
    "imports of ours": [],
    "nnUNetTrainerCDPD_unknown": None,
    "open_clip": False,
}
OUR_TRAINERS = {
    "nnUNetTrainerCDPD": "nnunetv2_cdpd.trainers.nnUNetTrainerCDPD",
    "nnUNetTrainerCDPD_5epochs": "nnunetv2_cdpd.trainers.variants",
}
OUR_PLANNER = {
    "nnUNetPlannerCDPD": "nnunetv2_cdpd.planners.nnUNetPlannerCDPD",
    "cdpd_resample_by_axis": "nnunetv2_cdpd.volumes.interpolation",  # found, or not, as planners are
}


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


# ---- every way to have the package -----------------------------------------------------------------------------------

# Every module of the folders at the top, once, under one name; nothing else of the project under our name.
LAYOUT = """
import importlib, importlib.util, os, pkgutil, sys
import nnunetv2_cdpd
from nnunetv2_cdpd.errors import UserError

for folder in ("trainers", "planners", "dataset_conversion"):
    package = importlib.import_module(f"nnunetv2_cdpd.{folder}")
    modules = [importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    assert modules, folder
assert [name for name in ("tests", "benchmarks", "docs") if importlib.util.find_spec(f"nnunetv2_cdpd.{name}")] == []
ours = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "nnunetv2_cdpd"]
assert {vars(module).get("UserError", UserError) for module in ours} == {UserError}
files = [os.path.realpath(module.__file__) for module in ours]
assert len(files) == len(set(files))
"""
WITHOUT_LINKS = ("trainers", "planners", "dataset_conversion")


@pytest.fixture
def clone(project_copy, tmp_path):
    """What a git clone holds, with the folders that are not to be installed."""
    folder = tmp_path / "clone"
    ignored = shutil.ignore_patterns("build", "*.egg-info")
    shutil.copytree(project_copy, folder, ignore=ignored, symlinks=True)
    for name in ("tests", "benchmarks", "docs"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "example.py").touch()
    return folder


@pytest.fixture
def clone_without_links(clone):
    """As git checks it out where a system allows no symbolic links: files that hold where they would lead."""
    for name in WITHOUT_LINKS:
        link = clone / "nnunetv2_cdpd" / name
        link.unlink()
        link.write_text(f"../{name}")
    return clone


def in_place(environment, project, folder):
    return {"PYTHONPATH": str(project)}


def editable(environment, project, folder):
    environment.pip("install", "--editable", project)
    return {}


def editable_compat(environment, project, folder):
    environment.pip("install", "--editable", project, "--config-settings", "editable_mode=compat")
    return {}


def from_wheel(environment, project, folder):
    environment.pip("install", build_wheel(project, folder))
    shutil.rmtree(project)
    return {}


def from_source_archive(environment, project, folder):
    script = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, folder], cwd=project, check=True, capture_output=True)
    environment.pip("install", next(folder.glob("*.tar.gz")))
    shutil.rmtree(project)
    return {}


def assert_everything_is_found(environment, **variables):
    environment.run("-c", LAYOUT, **variables)
    environment.run("-m", "nnunetv2_cdpd.cli.main", "link", **variables)
    assert environment.probe(**variables) == STOCK | OUR_TRAINERS | OUR_PLANNER
    assert "KITS23" in environment.run("-m", "nnunetv2_cdpd.cli.main", "sources", **variables).stdout


@pytest.mark.parametrize(
    "way",
    [
        in_place,
        editable,
        from_wheel,
        *(pytest.param(way, marks=pytest.mark.slow) for way in (editable_compat, from_source_archive)),
    ],
)
def test_every_way_to_have_the_package(environment, nnunet_wheel, clone, tmp_path, way):
    environment.pip("install", nnunet_wheel)
    (tmp_path / "built").mkdir()
    assert_everything_is_found(environment, **way(environment, clone, tmp_path / "built"))


@pytest.mark.slow
@pytest.mark.parametrize("way", [editable, from_wheel])
def test_a_clone_without_symbolic_links_can_be_installed(environment, nnunet_wheel, clone_without_links, tmp_path, way):
    environment.pip("install", nnunet_wheel)
    (tmp_path / "built").mkdir()
    assert_everything_is_found(environment, **way(environment, clone_without_links, tmp_path / "built"))


def test_a_clone_without_symbolic_links_says_what_to_do(environment, nnunet_wheel, clone_without_links):
    environment.pip("install", nnunet_wheel)
    variables = in_place(environment, clone_without_links, None)
    process = environment.run("-m", "nnunetv2_cdpd.cli.main", "sources", check=False, **variables)
    assert process.returncode == 1 and process.stderr.count("\n") == 1 and "pip install -e ." in process.stderr
    look_up = "from nnunetv2_cdpd.link import find_class; find_class('nnUNetTrainerCDPD')"
    assert "pip install -e ." in environment.run("-c", look_up, check=False, **variables).stderr.splitlines()[-1]
