"""Plans of a merge without any file."""

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


def plan_of(*inputs, **spec):
    return plan_merge(inputs, read_merge_spec(spec))


def state(plan, source, value, name):
    annotation = plan.annotation
    index = [s.name for s in annotation.sources].index(source)
    return annotation.tables[index][value, annotation.column_names.index(name)]
