"""The public datasets: every module of nnunetv2_cdpd.dataset_conversion that holds a `DATASET`."""

import difflib
import importlib
import pkgutil
from functools import cache

from nnunetv2_cdpd.conversion.declaration import SourceDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.link import package_of_top_folder

PACKAGE = "nnunetv2_cdpd.dataset_conversion"


@cache
def public_datasets() -> dict[str, SourceDataset]:
    """Name -> declaration, by name; a new file in the package is found without any list."""
    package = package_of_top_folder(PACKAGE)
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]
    found = [importlib.import_module(f"{PACKAGE}.{name}").DATASET for name in names]
    return {dataset.name: dataset for dataset in sorted(found, key=lambda dataset: dataset.name.lower())}


def public_dataset(name: str) -> SourceDataset:
    """The declaration of a name, whatever its case, `-` and `_`.

    Raises:
        UserError: There is none; the closest ones are listed.
    """
    datasets = {_key(known): dataset for known, dataset in public_datasets().items()}
    if _key(name) in datasets:
        return datasets[_key(name)]
    close = [known for key, known in ((key, dataset.name) for key, dataset in datasets.items()) if key.startswith(_key(name))]
    close = close or [datasets[key].name for key in difflib.get_close_matches(_key(name), datasets, n=3)]
    hint = f"did you mean {' or '.join(close)}?" if close and _key(name) else "`cdpd sources` lists them"
    raise UserError(f"{name}: no such public dataset; {hint} Your own data: `cdpd convert --spec my.yaml FOLDER`")


def _key(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
