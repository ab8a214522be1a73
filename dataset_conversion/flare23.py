"""FLARE23, the 2200 partially labelled cases: up to 13 abdominal organs.

No table tells which organs a case annotates. Its label does: a case that holds one of the eight structures that only fully
labelled cases have annotates 13, one that holds liver, kidneys, spleen or pancreas only annotates these, one that holds none is
left out (lesions only). Value 14 is a lesion of no named organ, and not all are marked: neither an organ nor its absence may be
taught there, so it is ignored.

FLARE24 is no other release of this: its first task labels lesions alone (1, one per case), the second uses the cases of
FLARE22. Neither could be checked, so neither is here.
"""

from ..conversion.declaration import SourceDataset
from .flare22 import DATASET as FLARE22

FIVE = ("liver", "right_kidney", "spleen", "pancreas", "left_kidney")

DATASET = SourceDataset(
    name="FLARE23",
    title="Fast, Low-resource and Accurate oRgan and Pan-cancer sEgmentation 2023 (labelled training set)",
    region="abdomen",
    license="CC BY-NC-ND 4.0 (AbdomenAtlas' paper; the challenge asks for registration)",
    license_names=("CC BY-NC-ND 4.0",),
    link="https://codalab.lisn.upsaclay.fr/competitions/12239",
    reference="Ma et al., Automatic Organ and Pan-cancer Segmentation in Abdomen CT: the FLARE 2023 Challenge, arXiv 2408.12534",
    size="size not checked",
    num_cases=2200,
    layout="""
imagesTr2200/FLARE23_0001_0000.nii.gz
labelsTr2200/FLARE23_0001.nii.gz
""",
    images=("FLARE23_{case}_0000.nii.gz",),
    labels=("FLARE23_{case}.nii.gz",),
    case=r"\d{4}",
    values=FLARE22.values,  # the same 13
    ignore_values=(14,),
    sources={"FLARE23": FLARE22.structures, "FLARE23_4_organs": FIVE},
    sources_by_content=True,
    unlabelled_images=True,  # unlabeledTr1800
    definitions={"liver": "without the lesions that are marked in it; so are the other organs"},
    overlaps=(
        "FLARE22",
        "AbdomenCT1K",
        "LiTS",
        "KITS",
        "MSD tasks",
        "PancreasCT",
        "TotalSegmentator",
        "AbdomenAtlas1_1Mini",
    ),
    unchecked=(
        "that a case annotates all 13 organs, or the four, where its label holds one of them",
        "whether all lesions are marked; value 14, a lesion of no named organ, is ignored, neither organ nor background",
        "its license at the source",
    ),
)
