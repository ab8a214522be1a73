"""Multi-organ labels for BTCV (Gibson et al.): 14 structures in its training cases, 8 in its test cases."""

from dataclasses import replace

from ..conversion.declaration import FoundCase, SourceDataset
from ..conversion.download import Download
from ._abdomen import EIGHT_ORGANS, MULTIORGAN_REFERENCE, MULTIORGAN_VALUES
from ._cropping import SYNAPSE, with_labelled_slices
from .btcv import PAOT_IMAGES, PAOT_LABELS

FOURTEEN, EIGHT = "BTCV_MultiOrgan_14", "BTCV_MultiOrgan_8"
FIRST_TEST_CASE = 61


def find(download: Download) -> list[FoundCase]:
    cases = with_labelled_slices(download, SYNAPSE)
    return [replace(case, source=EIGHT if int(case.case) >= FIRST_TEST_CASE else FOURTEEN) for case in cases]


DATASET = SourceDataset(
    name="BTCV_MultiOrgan",
    title="Multi-organ Abdominal CT Reference Standard Segmentations, BTCV part",
    region="abdomen",
    license="labels: see https://zenodo.org/records/1169361; images: see BTCV",
    link="labels https://zenodo.org/records/1169361, images https://www.synapse.org/#!Synapse:syn3193805 (RawData.zip)",
    reference=MULTIORGAN_REFERENCE,
    size="about 3 GB with the images",
    num_cases=47,
    layout="""
label_btcv_multiorgan/label0001.nii.gz
cropping.csv
RawData/Training/img/img0001.nii.gz
RawData/Testing/img/img0061.nii.gz
""",
    images=(
        "Training/img/img{case}.nii.gz",
        "Testing/img/img{case}.nii.gz",
        "Test/img/img{case}.nii.gz",
        "imagesTr/img{case}.nii.gz",
        "imagesTs/img{case}.nii.gz",
        PAOT_IMAGES,
    ),
    labels=("label_btcv_multiorgan/**/label{case}.nii.gz", PAOT_LABELS),
    case=r"\d{4}",
    values=MULTIORGAN_VALUES,
    sources={FOURTEEN: tuple(MULTIORGAN_VALUES.values()), EIGHT: EIGHT_ORGANS},
    unlabelled_images=True,  # 71 to 73
    ignores=True,
    find=find,
    overlaps=("BTCV (the same images; cases from 61 on are its test set)",),
    unchecked=(
        "whether cropping.csv counts slices as the label files store them",
        "the license of the labels",
        "which labels the assembly PAOT holds; those of its other cases may be BTCV's own",
    ),
)
