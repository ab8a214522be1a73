"""A hospital's export: patients with a series and what labels it, named as nobody agreed on."""

import json

import numpy as np

from builders.dicom_labels import boxes, lps, write_scan, write_structure_set
from builders.replica_files import make_truth
from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.conversion.declaration_file import read_declaration
from nnunetv2_cdpd.conversion.run import convert
from nnunetv2_cdpd.volumes.nifti import NiftiFile

SPEC = """
name: CLINIC
images: "data/{case}"
labels: "data/{case}"
dicom: true
rois: true
values:
  "liver|leber|hepar.*": liver
  "(gtv|tumou?r)[ _-]*[0-9]*": liver_tumor
  "(kidney|niere)[ _]*l(eft|inks)?": left_kidney
  "(?-i:Milz)|spleen": spleen
  "body|external|ptv.*": null
nested: {liver_tumor: liver}
"""
STRUCTURES = ["liver", "liver_tumor", "left_kidney", "spleen"]


class Clinic:
    """A folder of patients, each with a series and what labels it, in one folder as archives send them."""

    def __init__(self, folder):
        self.folder, self.truths = folder, {}
        (folder / "data").mkdir()
        self.declare()

    def declare(self, *changes):
        text = SPEC
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (self.folder / "my.yaml").write_text(text)

    def patient(self, case, names, write=write_structure_set, **given):
        """A patient whose structures go by these names; names of None are not drawn."""
        truth = make_truth(STRUCTURES, int(case[1:]))
        slices = write_scan(self.folder / f"data/{case}/ct", truth.image)
        masks = {name: lps(truth.masks[structure]) for structure, name in names.items()}
        path = self.folder / f"data/{case}/export/{write.__name__}.dcm"
        if write is write_structure_set:
            write(path, slices, [(name, boxes(slices, mask)) for name, mask in masks.items()], **given)
        else:
            write(path, slices, masks, **given)
        self.truths[case] = truth
        return slices, path

    def convert(self):
        declared = read_declaration(self.folder / "my.yaml")
        return convert(declared, self.folder / "data", num_processes=1, progress=False, report=lambda line: None)

    def label(self, outcome, case):
        return NiftiFile(outcome.folder / f"labelsTr/CLINIC_{case}.nii.gz").read()

    def annotated(self, outcome):
        """Case -> (source, classes that it annotates)."""
        annotation = read_annotation(json.loads((outcome.folder / "dataset.json").read_text()))
        sources = (annotation.sources[annotation.source_index(f"CLINIC_{case}")] for case in self.truths)
        return {case: (source.name, set(source.annotated_classes)) for case, source in zip(self.truths, sources)}


ALL = {"liver": "LIVER", "liver_tumor": "GTV 1", "left_kidney": "Niere  links", "spleen": "Milz"}


def expected(truth, values):
    label = np.zeros(truth.image.shape, np.uint8)
    for name, value in values.items():
        label[truth.masks[name]] = value
    return lps(label)
