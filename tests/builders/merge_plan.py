"""Plans of a merge without any file, and three partially labelled datasets for them."""

from pathlib import Path

from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.datasets.raw import RawCase, RawDataset
from nnunetv2_cdpd.merge.plan import plan_merge
from nnunetv2_cdpd.merge.spec import read_merge_spec


def dataset(name, labels, order=None, **extra):
    dataset_json = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "labels": {"background": 0} | labels, **extra}
    if order:
        dataset_json["regions_class_order"] = order
    case = RawCase("case", ("image",), "label")
    return RawDataset(name, DatasetJson(Path("/raw") / name / "dataset.json", dataset_json), (case,), ())


LITS = dataset("Dataset301_LITS", {"liver": 1, "liver tumor": 2})
KITS = dataset("Dataset302_KITS", {"Kidney": 1, "kidney_tumor": 2}, licence="CC BY-NC-SA 4.0")
BTCV = dataset("Dataset303_BTCV", {"Liver": 1, "right_kidney": 2, "left_kidney": 3, "spleen": 4})


def plan_of(*inputs, **spec):
    return plan_merge(inputs, read_merge_spec(spec))


def state(plan, source, value, name):
    annotation = plan.annotation
    index = [s.name for s in annotation.sources].index(source)
    return annotation.tables[index][value, annotation.column_names.index(name)]
