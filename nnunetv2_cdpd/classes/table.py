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

    name: without a side, it stands for each side too, whose parents are then those of that side.
    parents: structures that it may lie in, in the table or not. One parent: its voxels belong to that parent too. Several:
        each voxel belongs to one of them, and the label does not say which. Where one of them is no class, what that one lies
        in takes its place.
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
    Structure("colon", parents=("large_bowel",), compatible=("intestine", "rectum")),
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
LUNG_LOBES = ("lung_upper_lobe", "lung_middle_lobe_right", "lung_lower_lobe")
PANCREAS_PARTS = ("pancreas_head", "pancreas_body", "pancreas_tail")
SPINE = (("cervical", "C", 7), ("thoracic", "T", 13), ("lumbar", "L", 6))  # name, letter, most vertebrae
HEART_PARTS = ("myocardium", "atrium_left", "ventricle_left", "atrium_right", "ventricle_right")
BODY_REGIONS = (
    "subcutaneous_tissue muscle abdominal_cavity thoracic_cavity bone pericardium mediastinum bowel_bag face body external skin "
    "chest_wall gtv ctv ptv"
).split()
BRAIN_PARTS = "brainstem cerebellum temporal_lobe hippocampus".split()  # which contours of the brain leave out or hold
OTHER_STRUCTURES = (  # beyond it, those of which more is to say than a name
    Structure("uterus", compatible=("prostate",)),  # AMOS22 labels it as prostate
    Structure("veins", compatible=("portal_vein_and_splenic_vein", "hepatic_vessel", "postcava")),
    Structure("heart", compatible=("pulmonary_artery", "ascending_aorta")),
    *(Structure(f"heart_{part}", parents=("heart",)) for part in HEART_PARTS),
    Structure("ascending_aorta", parents=("aorta",)),
    *(
        Structure(f"vertebrae_{letter}{number}", parents=(f"{part}_vertebrae",))
        for part, letter, most in SPINE
        for number in range(1, most + 1)
    ),
    *(Structure(f"{part}_vertebrae", parents=("vertebrae",)) for part, _, _ in SPINE),
    Structure("vertebrae", parents=("spine",), compatible=("sacrum",)),
    Structure("vertebrae_S1", parents=("sacrum",)),
    Structure("sacrum", compatible=("spine", "pelvis")),
    Structure("hip", compatible=("pelvis",)),
    *(Structure(f"rib_{number}", parents=("ribs_left", "ribs_right")) for number in range(1, 13)),
    # parts beside tumors of the whole, where the whole is no class
    *(Structure(lobe, LUNGS[:1] if "right" in lobe else LUNGS, ("lung_tumor",)) for lobe in LUNG_LOBES),
    *(Structure(part, ("pancreas",), ("pancreas_tumor",)) for part in PANCREAS_PARTS),
    *(Structure(f"liver_segment_{number}", ("liver",), ("liver_tumor", "hepatic_vessel_tumor")) for number in range(1, 9)),
    Structure("portal_vein", parents=("portal_vein_and_splenic_vein",)),
    Structure("splenic_vein", parents=("portal_vein_and_splenic_vein",)),
    # ducts run through organs, which one dataset leaves out of them and another does not
    Structure("pancreatic_duct", compatible=("pancreas",)),
    Structure("common_bile_duct", compatible=("pancreas", "liver")),
    Structure("large_bowel", compatible=("intestine", "rectum")),
    Structure("sigmoid_colon", compatible=("colon", "large_bowel", "rectum")),
    Structure("anal_canal", compatible=("rectum",)),
    Structure("seminal_vesicle", compatible=("prostate",)),
    Structure("atrial_appendage_left", compatible=("heart", "heart_atrium_left")),
    *(Structure(part, compatible=("brain",)) for part in BRAIN_PARTS),
    Structure("spinal_canal", compatible=("spinal_cord",)),
    Structure("cauda_equina", compatible=("spinal_cord",)),
    Structure("bowel", compatible=("intestine", "duodenum", "colon", "sigmoid_colon", "large_bowel", "rectum")),
    Structure("carina", compatible=("trachea",)),
    Structure("mandible", compatible=("skull",)),
    Structure("eye_lens", parents=("eye_left", "eye_right")),
    *(Structure(region, compatible=(ANY,)) for region in BODY_REGIONS),
)
