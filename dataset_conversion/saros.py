"""SAROS: 13 regions of the body, in every fifth slice of whole-body CT; value 255 marks the slices that nobody labelled.

Images are not part of the release: its download.py (github.com/UMEssen/saros-dataset) fetches them from TCIA and brings them to
slices of 5 mm, where the labels lie. Labels that are made from DICOM SEG by it need `--set-ignore 255`. Its body parts
(body-parts.nii.gz: torso, head, arms, legs) are not used. The regions lie across the organs of other collections, so none
denies another.
"""

from ..conversion.declaration import Erratum, SourceDataset

DATASET = SourceDataset(
    name="SAROS",
    title="A large, heterogeneous, and sparsely annotated segmentation dataset on CT imaging data, body regions",
    region="whole body",
    license="CC BY 4.0; images as in the 28 TCIA collections that they come from, six of which need a signed agreement",
    link="https://doi.org/10.25737/sz96-zg60 (segmentations), https://github.com/UMEssen/saros-dataset (fetches the images)",
    reference="Koitka et al., SAROS, Scientific Data 2024, doi:10.1038/s41597-024-03337-6",
    size="size not checked",
    num_cases=900,
    layout="""
case_000/image.nii.gz
case_000/body-regions.nii.gz
""",
    images=("case_{case}/image.nii.gz",),
    labels=("case_{case}/body-regions.nii.gz",),
    case=r"\d+",
    values={
        1: "subcutaneous_tissue",
        2: "muscle",
        3: "abdominal_cavity",
        4: "thoracic_cavity",
        5: "bone",
        6: "parotid_gland",
        7: "pericardium",
        8: "breast_implant",
        9: "mediastinum",
        10: "brain",
        11: "spinal_cord",
        12: "thyroid_gland",
        13: "submandibular_gland",
    },
    ignore_values=(255,),
    merged_labels={
        "parotid_gland": ("right_parotid_gland", "left_parotid_gland"),
        "submandibular_gland": ("right_submandibular_gland", "left_submandibular_gland"),
    },
    imageless_labels=True,  # of the collections that need a signed agreement
    errata=(
        Erratum(
            ("609", "623", "816"),
            "holds abnormal values, such as -3000 HU",
            source="README of https://github.com/UMEssen/saros-dataset",
        ),
    ),
    unchecked=(
        "that slices nobody labelled are 255; labels made by its download.py need `--set-ignore 255`, or they teach background",
        "whether spinal_cord is the cord, as TotalSegmentator labels it, or the whole canal",
    ),
)
