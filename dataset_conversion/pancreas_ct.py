"""Pancreas-CT of the NIH: the pancreas of 80 people without pancreatic lesions; DICOM images."""

from ..conversion.declaration import CC_BY_3, Erratum, IntensityCheck, SourceDataset
from .btcv import PAOT_LABELS

# The headers of labels and images disagree, and conversions of them differ in flips. So arrays are compared, and the
# flip is chosen in which the labelled voxels are soft tissue.
PLACEMENT = IntensityCheck(window=(-50, 200), least_share=0.75, flips=((), (2,), (1,), (1, 2)))
LAYOUT = "Pancreas-CT/PANCREAS_0001/<study>/<series>/1-001.dcm    or PANCREAS_0001.nii.gz"
PANCREAS_IMAGES = ("PANCREAS_{case}", "PANCREAS_{case}.nii.gz")
# Of PancreasCT_MultiOrgan; the second is that of the assembly PAOT.
MULTIORGAN_LABELS = ("label_tcia_multiorgan/**/label{case}.nii.gz", "02_TCIA_Pancreas-CT/multiorgan_label/label{case}.nii.gz")
# BTCV's and, in PAOT, those of KiTS
_OF_OTHERS = ("Training/label/label{case}.nii.gz", PAOT_LABELS, "05_KiTS/label/label{case}.nii.gz")

DATASET = SourceDataset(
    name="PancreasCT",
    title="NIH Pancreas-CT",
    region="abdomen",
    license=CC_BY_3,
    link="https://www.cancerimagingarchive.net/collection/pancreas-ct/ (images by NBIA, and the annotations)",
    reference="Roth et al., Data From Pancreas-CT, TCIA 2016, doi:10.7937/K9/TCIA.2016.tNB1kqBU",
    size="about 10 GB",
    num_cases=80,
    layout=f"""
{LAYOUT}
TCIA_pancreas_labels-02-05-2017/label0001.nii.gz
""",
    images=PANCREAS_IMAGES,
    labels=("TCIA_pancreas_labels-02-05-2017/**/label{case}.nii.gz", "label{case}.nii.gz"),
    foreign=(*MULTIORGAN_LABELS, *_OF_OTHERS),
    case=r"\d{4}",
    dicom=True,
    values={1: "pancreas"},
    errata=(Erratum(("0025", "0070"), "is a crop of case 0002, withdrawn in version 2", skip=True),),
    placement=PLACEMENT,
    overlaps=("PancreasCT_MultiOrgan (the same images)", "AbdomenCT1K", "AbdomenAtlas1_1Mini", "PanTS", "FLARE23"),
    unchecked=("how NIfTI copies of the images are flipped; where the headers agree but the HU speak against it, the HU decide",),
)
