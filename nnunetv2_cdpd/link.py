"""Link: let nnU-Net find our trainers, planners and resampling, wherever its package lies.

nnU-Net looks classes up by walking the folders of the nnunetv2 package that is imported, module after module, asking each
for the name, and functions that resample likewise. `link` puts one small file beside its trainers, one beside its planners
and one beside its resampling, each a copy of ext_trainer/cdpd_link.py, which hands names with our prefixes on to `find_class`
here and nothing else.

Where nnunetv2 cannot be written to, the folder ext_trainer/ itself serves as nnUNet_extTrainer (nnU-Net's own second place
for trainers), `cdpd plan` finds the planner, and plans must not name our resampling (planning/fast_resampling.py).
"""

import base64
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from nnunetv2_cdpd.errors import UserError, one_line
from nnunetv2_cdpd.jobs.files import written_beside

DEFAULT_TRAINER, DEFAULT_PLANNER = "nnUNetTrainerCDPD", "nnUNetPlannerCDPD"
DEFAULT_PLANS = "nnUNetCDPDPlans"  # of that planner
# A name belongs to us by its prefix, so that a new variant of a trainer needs no new link files.
FOLDER_OF_PREFIX = {DEFAULT_TRAINER: "nnunetv2_cdpd.trainers", DEFAULT_PLANNER: "nnunetv2_cdpd.planners"}
# What plans may name as a function that resamples images, and the module that defines it.
RESAMPLING, _RESAMPLING_MODULE = "cdpd_resample_by_axis", "nnunetv2_cdpd.volumes.interpolation"
EXT_TRAINER_FOLDER = Path(__file__).parent / "ext_trainer"
_LINK_FILE = EXT_TRAINER_FOLDER / "cdpd_link.py"
_HOST_FOLDERS = ("training/nnUNetTrainer", "experiment_planning/experiment_planners", "preprocessing/resampling")
_STAMP = re.compile(r"Written by `cdpd link` \(link file version \d+\)")


def find_class(name: str) -> Any:
    """The trainer or planner class of a name, whichever module of its folder defines it, or the function that resamples.

    The link files call this, also those that an older release wrote: name, argument and errors stay as they are.

    Raises:
        AttributeError: None of our modules defines the name.
    """
    found = own_class(name) or own_resampling(name)
    if found is None:
        raise AttributeError(f"nnunetv2_cdpd has no class {name!r}")
    return found


def own_class(name: str) -> type | None:
    """The trainer or planner class of a name; None if we have none."""
    for prefix, folder in FOLDER_OF_PREFIX.items():
        if name.startswith(prefix):
            modules = [module for _, module, _ in pkgutil.iter_modules(package_of_top_folder(folder).__path__)]
            # The module that bears the class's name first: the usual case then imports one module.
            for module in sorted(modules, key=lambda module: (module != name, module)):
                found = getattr(importlib.import_module(f"{folder}.{module}"), name, None)
                if isinstance(found, type):
                    return found
    return None


def own_resampling(name: Any) -> Callable | None:
    """The function of a name that plans may choose for resampling; None if it is none of ours."""
    return getattr(importlib.import_module(_RESAMPLING_MODULE), name) if name == RESAMPLING else None


def class_names(prefix: str) -> list[str]:
    """Names of our trainers or planners, whose names begin like this."""
    folder = FOLDER_OF_PREFIX[prefix]
    modules = [
        importlib.import_module(f"{folder}.{name}") for _, name, _ in pkgutil.iter_modules(package_of_top_folder(folder).__path__)
    ]
    found = {name for module in modules for name, value in vars(module).items() if isinstance(value, type)}
    return sorted(name for name in found if name.startswith(prefix))


def package_of_top_folder(name: str) -> ModuleType:
    """One of the packages whose folder lies at the top of the project; in a clone, a symbolic link leads there.

    Raises:
        UserError: The clone has a file in place of the link, as git makes it where a system allows no links.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        place = Path(__file__).parent / name.rpartition(".")[2]
        if error.name != name or not place.is_file():
            raise
    raise UserError(f"{place}: should be a symbolic link, which git did not make here; install the clone: pip install -e .")


def find_nnunetv2() -> Path:
    """Folder of the nnunetv2 package that `import nnunetv2` would take; nothing of it is imported.

    Raises:
        UserError: There is none, or what is there is not nnU-Net 2.
    """
    spec = importlib.util.find_spec("nnunetv2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"nnunetv2 is not installed for {sys.executable}; run: pip install 'nnunetv2>=2.8,<3'")
    folder = Path(next(iter(spec.submodule_search_locations)))
    if spec.origin is None:
        raise UserError(
            f"{folder} holds no nnU-Net, only files that one left behind, and may hide another nnU-Net from Python; "
            "delete that folder"
        )
    for part in _HOST_FOLDERS:
        if not (folder / part).is_dir():
            raise UserError(f"{folder} has no folder {part}; run: pip install 'nnunetv2>=2.8,<3'")
    return folder


# ---- link files ------------------------------------------------------------------------------------------------------


def link_paths(nnunetv2_folder: Path) -> list[Path]:
    """The link files of an nnunetv2 package, whether they exist or not."""
    return [nnunetv2_folder / part / _LINK_FILE.name for part in _HOST_FOLDERS]


def link_state(path: Path) -> str:
    """State of a link file: "linked", "missing", "outdated" (ours, but another text) or "foreign" (not ours)."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "missing"
    except (OSError, UnicodeDecodeError):
        return "foreign"
    if text == _LINK_FILE.read_text(encoding="utf-8"):
        return "linked"
    return "outdated" if _STAMP.search(text) else "foreign"


def link() -> list[Path]:
    """Write the link files that are missing or outdated.

    Returns:
        The files that were written.

    Raises:
        UserError: nnunetv2 is not there or read-only, or a file of the same name is not ours.
    """
    folder = find_nnunetv2()
    paths = link_paths(folder)
    wanted = [path for path in paths if link_state(path) != "linked"]
    for path in wanted:
        if link_state(path) == "foreign":
            raise UserError(f"{path} was not written by cdpd link and is left as it is; move it away and link again")
    try:
        for path in wanted:
            _write(path, _LINK_FILE.read_bytes())
    except OSError as error:
        others = f"{os.pathsep}$nnUNet_extTrainer" if os.environ.get("nnUNet_extTrainer") else ""
        raise UserError(
            f"{folder} cannot be written to ({error.strerror or one_line(error)}); instead, for the trainers: "
            f'export nnUNet_extTrainer="$(cdpd link --path){others}", '
            "and for the planner: cdpd plan in place of nnUNetv2_plan_experiment"
        ) from error
    _record(folder, paths)
    return wanted


def unlink() -> list[Path]:
    """Delete our link files, of any version; others are left as they are.

    Returns:
        The files that were deleted.

    Raises:
        UserError: nnunetv2 is not there or read-only.
    """
    folder = find_nnunetv2()
    deleted = [path for path in link_paths(folder) if link_state(path) in ("linked", "outdated")]
    for path in deleted:
        try:
            path.unlink()
        except OSError as error:
            raise UserError(f"{path} cannot be deleted ({error.strerror or one_line(error)})") from error
        _forget_compiled(path)
    _record(folder, [])
    return deleted


def ensure_linked() -> None:
    """Link if necessary, in one line on stderr; where it is not possible, tell the ways out and go on."""
    try:
        written = link()
    except (UserError, OSError) as error:  # what is wrong with the user's own folders is to be told first, by the command itself
        if str(EXT_TRAINER_FOLDER) not in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep):
            print(f"cdpd: note: {one_line(error)}", file=sys.stderr)
        return
    if written:
        print(f"cdpd: linked to nnU-Net in {find_nnunetv2()} (`cdpd link --remove` undoes it)", file=sys.stderr)


def _write(path: Path, content: bytes) -> None:
    """A process that looks a class up meanwhile sees the old file or the new one."""
    with written_beside(path) as beside:
        beside.write_bytes(content)
    _forget_compiled(path)


def _forget_compiled(path: Path) -> None:
    # Python takes a compiled file for current if size and second of the source agree, as two versions' may.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink(missing_ok=True)


# ---- what nnunetv2's installer knows ---------------------------------------------------------------------------------


def _record(folder: Path, paths: Sequence[Path]) -> None:
    """Have whatever installed nnunetv2 delete these link files together with it, and no other ones.

    Installers delete what RECORD lists. A link file left behind would keep nnunetv2's folder alive in site-packages, and
    that hides an nnunetv2 which is then installed in editable mode. A clone has no such list and needs none.
    """
    record = _record_of(folder)
    if record is None:
        return
    root = folder.resolve().parent
    try:
        text = record.read_bytes().decode()
        newline = "\r\n" if "\r\n" in text else "\n"
        lines = [line for line in text.splitlines() if f"/{_LINK_FILE.name}," not in line]
        for path in paths:
            content = path.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{path.resolve().relative_to(root).as_posix()},sha256={digest},{len(content)}")
        updated = newline.join(lines) + newline
        if updated != text:
            _write(record, updated.encode())
    except OSError:
        return  # the look-ups work without


def _record_of(folder: Path) -> Path | None:
    """RECORD of the distribution that installed this folder; None for a clone or a bare copy."""
    try:
        distribution = importlib.metadata.distribution("nnunetv2")
    except importlib.metadata.PackageNotFoundError:
        return None
    files = {file.as_posix(): Path(file.locate()) for file in distribution.files or []}
    installed = files.get("nnunetv2/__init__.py")
    if installed is None or installed.resolve().parent != folder.resolve():
        return None
    return next((path for name, path in files.items() if name.endswith(".dist-info/RECORD")), None)
