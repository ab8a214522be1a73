"""SegTHOR: esophagus, heart, trachea and aorta in radiotherapy planning CT of the chest."""

from ..conversion.declaration import SourceDataset

DATASET = SourceDataset(
    name="SegTHOR",
    title="Segmentation of THoracic Organs at Risk in CT images (training set)",
    region="chest",
    license="on request, for research (rules of the challenge)",
    license_names=("research only",),
    link="https://competitions.codalab.org/competitions/21145",
    reference="Lambert et al., SegTHOR, IPTA 2020, arXiv 1912.05950",
    size="size not checked",
    num_cases=40,
    layout="""
train/Patient_01/Patient_01.nii.gz
train/Patient_01/GT.nii.gz
""",
    images=("Patient_{case}/Patient_{case}.nii.gz", "Patient_{case}/Patient_{case}.nii"),
    labels=("Patient_{case}/GT.nii.gz", "Patient_{case}/GT.nii"),
    case=r"\d{2}",
    values={1: "esophagus", 2: "heart", 3: "trachea", 4: "aorta"},
    definitions={"heart": "as radiotherapy outlines it, with the pericardium; TotalSegmentator's is smaller"},
    unchecked=("the text of its license", "how far up the trachea and down the aorta are labelled"),
)
