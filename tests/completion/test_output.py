"""Labels of a completed dataset: consecutive values, merged labels gone, ignore the highest; regions where classes nest."""

from dataclasses import replace
from pathlib import Path

from builders.partial_labels import ANNOTATION
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_cdpd.annotation import dataset_json_entries, read_annotation
from nnunetv2_cdpd.completion.output import completed_annotation, completed_dataset_json, decisions_csv
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.completion.summary import completion_summary
from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.datasets.raw import RawCase, RawDataset

CASES = {"k1": "KITS", "l1": "LITS"}
TOLD = {
    "k1": {
        "source": "KITS",
        "classes": {
            "liver": {
                "outcome": "dropped",
                "filter": "outlier",
                "teachers": {"T": ["0", "1"]},
                "seen": False,
                "voxels": 0,
                "ignored": 7,
                "kept_over": 0,
                "measured": {"probability": 0.9, "volume_score": 5.5},
            },
            "spleen": {
                "outcome": "completed",
                "filter": None,
                "teachers": {"T": ["0", "1"]},
                "seen": False,
                "voxels": 4,
                "ignored": 2,
                "kept_over": 0,
                "measured": {"agreement": 0.8},
            },
            "kidney_tumor": {"outcome": "real"},
        },
        "values": {"4": {"voxels": 4, "real": 0}},
    }
}


def test_values_are_consecutive_and_merged_labels_gone():
    """The values 1 ... 6 of classes stay; 7 was the merged kidney, and an overlap's value would be 9."""
    annotation = replace(ANNOTATION, regions=((1, 5, 9), (2,), (3,), (4,), (5, 9), (6,)), ignore_value=10)
    completed, values = completed_annotation(annotation)
    assert completed.values == (1, 2, 3, 4, 5, 6) and completed.regions[0] == (1, 5, 7) and completed.ignore_value == 8
    assert values.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 0, 7, 0, 8]
    assert completed.merged_labels == () and all(source.merged_labels == () for source in completed.sources)


def test_nested_classes_are_regions_that_nnunet_and_we_can_read():
    given = {"channel_names": {"0": "CT"}, "numTraining": 2, "file_ending": ".nii.gz", "description": "Mine", "name": "M"}
    annotation = replace(ANNOTATION, case_source=CASES)
    dataset_json = DatasetJson(Path("/raw/Dataset400_M/dataset.json"), {**given, **dataset_json_entries(annotation)})
    cases = tuple(RawCase(name, (f"imagesTr/{name}_0000.nii.gz",), f"labelsTr/{name}.nii.gz") for name in CASES)
    dataset = RawDataset("400", dataset_json, cases, ())
    completed, _ = completed_annotation(annotation)
    content = completed_dataset_json(Path("/raw/Dataset410_N"), dataset, completed, [], CompletionSettings(), TOLD)
    assert content["labels"]["liver"] == [1, 5] and content["labels"]["right_kidney"] == 2 and content["labels"]["ignore"] == 7
    assert content["regions_class_order"] == [1, 2, 3, 4, 5, 6]
    assert content["name"] == "N" and content["description"] == "Mine; completed by cdpd complete from Dataset400_M"
    assert content["dataset"]["k1"]["images"] == ["../Dataset400_M/imagesTr/k1_0000.nii.gz"]
    manager = LabelManager(content["labels"], content["regions_class_order"])
    assert manager.has_regions and manager.foreground_regions == [(1, 5), 2, 3, 4, 5, 6] and manager.ignore_label == 7
    assert read_annotation(content) == completed
    told = content["cdpd"]["completion"]["cases"]["k1"]
    assert told["real"] == ["kidney_tumor"] and told["values"] == TOLD["k1"]["values"]
    assert told["dropped"] == {"liver": {"filter": "outlier", "teachers": {"T": ["0", "1"]}, "ignored": 7}}


def test_the_table_has_a_row_for_what_was_open():
    head, *rows = [line.split(",") for line in decisions_csv(TOLD).splitlines()]
    assert [dict(zip(head, row))["class"] for row in rows] == ["liver", "spleen"]
    assert rows[0] == ["k1", "KITS", "liver", "dropped", "outlier", "T 0 1", "", "0", "7", "0", "0.9", "", "5.5", "", ""]


def test_the_summary_has_a_line_for_each_class():
    lines = completion_summary(["liver", "spleen", "kidney_tumor"], TOLD).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["liver", "outlier", "1", "0", "0", "0", "1", "0", "0", "7"],
        ["spleen", "-", "0", "1", "0", "0", "0", "4", "2"],
        ["kidney_tumor", "-", "1", "0", "0", "0", "0", "0", "0"],
    ]
