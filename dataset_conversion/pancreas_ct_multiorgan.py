"""Multi-organ labels for Pancreas-CT (Gibson et al.): 8 structures; a left kidney, but no right one."""

from functools import partial

from ..conversion.declaration import Erratum, SourceDataset
from ._abdomen import EIGHT_ORGANS, MULTIORGAN_REFERENCE, MULTIORGAN_VALUES
from ._cropping import TCIA, with_labelled_slices
from .pancreas_ct import LAYOUT, MULTIORGAN_LABELS, PANCREAS_IMAGES, PLACEMENT

DATASET = SourceDataset(
    name="PancreasCT_MultiOrgan",
    title="Multi-organ Abdominal CT Reference Standard Segmentations, Pancreas-CT part",
    region="abdomen",
    license="labels: see https://zenodo.org/records/1169361; images: CC BY 3.0",
    link="labels https://zenodo.org/records/1169361, images https://www.cancerimagingarchive.net/collection/pancreas-ct/",
    reference=MULTIORGAN_REFERENCE,
    size="about 10 GB with the images",
    num_cases=43,
    layout=f"""
label_tcia_multiorgan/label0002.nii.gz
cropping.csv
{LAYOUT}
""",
    images=PANCREAS_IMAGES,
    labels=MULTIORGAN_LABELS,
    case=r"\d{4}",
    dicom=True,
    values={value: name for value, name in MULTIORGAN_VALUES.items() if name in EIGHT_ORGANS},
    errata=(Erratum(("0025",), "is a crop of case 0002, withdrawn in version 2 of Pancreas-CT", skip=True),),
    unlabelled_images=True,  # Pancreas-CT has more cases
    ignores=True,
    placement=PLACEMENT,
    find=partial(with_labelled_slices, publisher=TCIA),
    overlaps=("PancreasCT (the same images)", "AbdomenCT1K", "AbdomenAtlas1_1Mini"),
    unchecked=("whether cropping.csv counts slices as the label files store them", "the license of the labels"),
)
