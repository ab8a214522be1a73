"""The class table: structures that public CT datasets label, and how they nest.

Only facts that hold for every dataset stand here. A class that is not in the table is an ordinary structure without
nesting; a dataset's own YAML or dataset.json always wins over the table.
"""

from dataclasses import dataclass

KIDNEYS = ("right_kidney", "left_kidney")
LUNGS = ("right_lung", "left_lung")
ANY = "*"


@dataclass(frozen=True)
class Structure:
    """One structure of the merged abdominal label set.

    parents: structures that it may lie in, in the table or not. One parent: its voxels belong to that parent too. Several:
        each voxel belongs to one of them, and the label does not say which.
    compatible: unrelated structures whose border is drawn differently from dataset to dataset, so that the label of
        one does not exclude the other. ANY: a region of the body, drawn across structures of every kind.
    """

    name: str
    parents: tuple[str, ...] = ()
    compatible: tuple[str, ...] = ()


CLASS_TABLE = (
    Structure("spleen"),
    Structure("right_kidney"),
    Structure("left_kidney"),
    Structure("gallbladder"),
    Structure("esophagus"),
    Structure("liver"),
    Structure("stomach"),
    Structure("aorta"),
    Structure("postcava"),
    Structure("portal_vein_and_splenic_vein"),
    Structure("pancreas"),
    Structure("right_adrenal_gland"),
    Structure("left_adrenal_gland"),
    Structure("duodenum", compatible=("intestine",)),
    Structure("hepatic_vessel", parents=("liver",), compatible=("portal_vein_and_splenic_vein",)),
    Structure("right_lung"),
    Structure("left_lung"),
    Structure("colon", compatible=("intestine", "rectum")),
    Structure("intestine"),
    Structure("rectum"),
    Structure("bladder"),
    Structure("prostate"),
    Structure("left_head_of_femur", parents=("left_femur",)),
    Structure("right_head_of_femur", parents=("right_femur",)),
    Structure("celiac_trunk", compatible=("aorta",)),
    Structure("kidney_tumor", parents=KIDNEYS),
    Structure("liver_tumor", parents=("liver",)),
    Structure("pancreas_tumor", parents=("pancreas",)),
    Structure("hepatic_vessel_tumor", parents=("liver",)),
    Structure("lung_tumor", parents=LUNGS),
    Structure("colon_tumor", parents=("colon",)),
    Structure("kidney_cyst", parents=KIDNEYS),
)
HEART_PARTS = ("myocardium", "atrium_left", "ventricle_left", "atrium_right", "ventricle_right")
BODY_REGIONS = "subcutaneous_tissue muscle abdominal_cavity thoracic_cavity bone pericardium mediastinum".split()
OTHER_STRUCTURES = (  # beyond it, those of which more is to say than a name
    Structure("uterus", compatible=("prostate",)),  # AMOS22 labels it as prostate
    Structure("veins", compatible=("portal_vein_and_splenic_vein", "hepatic_vessel", "postcava")),
    Structure("heart", compatible=("pulmonary_artery", "ascending_aorta")),
    *(Structure(f"heart_{part}", parents=("heart",)) for part in HEART_PARTS),
    Structure("ascending_aorta", parents=("aorta",)),
    *(Structure(f"vertebrae_L{number}", parents=("lumbar_vertebrae",)) for number in range(1, 7)),
    Structure("vertebrae_S1", parents=("sacrum",)),
    *(Structure(region, compatible=(ANY,)) for region in BODY_REGIONS),
)
