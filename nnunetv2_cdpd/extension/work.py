"""Work: where the extended model goes, and the folder beside in which it is made until it is whole."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_results

from nnunetv2_cdpd.datasets.output import folder_of_nnunet, other_names_of_id
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import DATASET_FILE
from nnunetv2_cdpd.jobs import output_folder, read_json, remove, write_json
from nnunetv2_cdpd.jobs.files import real_path

DATASET_NAME = re.compile(r"Dataset\d{3}_[^/\\\s]+")
_ENDING = ".extending"
_SETTINGS = "cdpd_extend.json"


def place_of(output: Path, trainer: str, plans_name: str, configuration: str) -> Path:
    """The model folder that an output means: itself, or that of a dataset in nnUNet_results where it is the name of one.

    Raises:
        UserError: It is there already, lies in a dataset or a model, the id is that of another dataset, or nnUNet_results is not
            set.
    """
    if DATASET_NAME.fullmatch(str(output)):
        results = folder_of_nnunet(nnUNet_results)
        if results is None:
            raise UserError(f"argument output {output}: nnUNet_results is not set; set it, or give a folder")
        number, name = int(output.name[7:10]), output.name[11:]
        if taken := other_names_of_id(number, name):
            raise UserError(
                f"argument output {output}: its id is taken by {', '.join(taken)}; nnU-Net wants one name per id, give another"
            )
        output = results / output / f"{trainer}__{plans_name}__{configuration}"
    output = Path(os.path.abspath(output.expanduser()))
    if os.path.lexists(output):
        raise UserError(f"argument output {output}: is there already, and stays; remove it, or give another")
    for around in real_path(output).parents:
        if (around / DATASET_FILE).is_file():
            raise UserError(f"argument output {output}: lies in {around}, which holds a dataset or a model; give another place")
    return output


def dataset_name_of(output: Path, former: str) -> str:
    """The dataset that plans of an output name: that of its place in nnUNet_results, else the former one."""
    return output.parent.name if DATASET_NAME.fullmatch(output.parent.name) else former


@contextmanager
def work_folder(output: Path, made_from: str) -> Iterator[Path]:
    """The folder beside an output, for one process at a time; it stays where the work does not come to its end.

    Raises:
        UserError: What is there was begun from something else, or somebody else made it.
    """
    folder = output.with_name(f"{output.name}{_ENDING}")
    settings = {"command": "cdpd extend", "made_from": made_from}
    with output_folder(folder):
        found: Any = read_json(folder / _SETTINGS)
        others = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if others and found != settings:
            raise UserError(
                f"{folder}: was begun from another model, dataset or other options, or by something else; remove it to begin "
                "anew, or give another argument output"
            )
        write_json(folder / _SETTINGS, settings)
        yield folder
    remove(folder)
