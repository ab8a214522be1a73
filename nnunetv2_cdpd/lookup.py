"""Find one of our trainer or planner classes by name, for the files through which nnU-Net looks classes up."""

import importlib
import pkgutil


def find_class(package_name: str, class_name: str) -> type:
    """The class of this name among the modules of a package.

    Args:
        package_name: "nnunetv2_cdpd.trainers" or "nnunetv2_cdpd.planners".

    Raises:
        AttributeError: No module of the package defines it; what a module's `__getattr__` has to raise.
    """
    package = importlib.import_module(package_name)
    for module_info in pkgutil.iter_modules(package.__path__, prefix=f"{package_name}."):
        found = vars(importlib.import_module(module_info.name)).get(class_name)
        if isinstance(found, type):
            return found
    raise AttributeError(f"{package_name} has no class {class_name}")
