"""The public datasets: every module of nnunetv2_cdpd.dataset_conversion that holds a `DATASET`."""

import difflib
import importlib
import pkgutil
from functools import cache

from nnunetv2_cdpd.classes import name_key
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
    datasets = {name_key(known): dataset for known, dataset in public_datasets().items()}
    if (key := name_key(name)) in datasets:
        return datasets[key]
    close = [known for known in datasets if known.startswith(key)] or difflib.get_close_matches(key, datasets, n=3)
    did_you_mean = f"did you mean {' or '.join(datasets[known].name for known in close)}?"
    hint = did_you_mean if close and key else "`cdpd sources` lists them."
    own = "For your own data write a YAML: `cdpd convert --spec my.yaml FOLDER` (docs/conversion.md)"
    raise UserError(f"{name}: no such public dataset; {hint} {own}")
