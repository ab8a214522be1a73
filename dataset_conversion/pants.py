"""PanTS Mini: pancreatic lesions, the parts of the pancreas and 24 structures around it, one mask file each.

The masks are read, not combined_labels, whose values differ between copies of the dataset. Masks overlap, and a label map has
one value per voxel: what lies in the pancreas is painted over it, a lesion over all, so that a lesion is never part of head,
body or tail. Some masks are stored scaled (1 is 1.0000000591); what is that near to an integer is taken for it.
"""

from ..conversion.declaration import CC_BY_NC_SA_4, SourceDataset

_NAMES = """
adrenal_gland_left adrenal_gland_right aorta bladder celiac_artery colon common_bile_duct duodenum femur_left femur_right
gall_bladder kidney_left kidney_right liver lung_left lung_right pancreas pancreas_body pancreas_head pancreas_tail
pancreatic_duct postcava prostate spleen stomach superior_mesenteric_artery veins pancreatic_lesion
""".split()
_OUR_NAMES = {
    "adrenal_gland_left": "left_adrenal_gland",
    "adrenal_gland_right": "right_adrenal_gland",
    "celiac_artery": "celiac_trunk",
    "femur_left": "left_femur",
    "femur_right": "right_femur",
    "gall_bladder": "gallbladder",
    "kidney_left": "left_kidney",
    "kidney_right": "right_kidney",
    "lung_left": "left_lung",
    "lung_right": "right_lung",
    "pancreatic_lesion": "pancreas_tumor",
}
_IN_PANCREAS = ("pancreas_body", "pancreas_head", "pancreas_tail", "pancreatic_duct", "pancreas_tumor")

DATASET = SourceDataset(
    name="PanTS",
    title="The Pancreatic Tumor Segmentation Dataset (PanTSMini, training and test set)",
    region="abdomen",
    license=CC_BY_NC_SA_4,
    link="https://github.com/MrGiovanni/PanTS (images huggingface.co/datasets/BodyMaps/PanTSMini)",
    reference="Li et al., PanTS: The Pancreatic Tumor Segmentation Dataset, NeurIPS 2025, arXiv 2507.01291",
    size="about 315 GB",
    num_cases=9901,
    layout="""
ImageTr/PanTS_00000001/ct.nii.gz
LabelTr/PanTS_00000001/segmentations/pancreas.nii.gz    and 27 more
ImageTe, LabelTe    from PanTS_00009001 on
""",
    images=("PanTS_{case}/ct.nii.gz",),
    labels=("PanTS_{case}/segmentations/{structure}.nii.gz",),
    masks=True,
    case=r"\d{8}",
    values={name: _OUR_NAMES.get(name, name) for name in _NAMES},
    nested=dict.fromkeys(_IN_PANCREAS, "pancreas"),
    imageless_labels=True,  # labels come in one archive, images in ten
    definitions={
        "pancreas_tumor": "any lesion of the pancreas, cysts too",
        "veins": "one mask for the veins around the pancreas; others label portal_vein_and_splenic_vein",
        "pancreas_head": "without the lesions in it; so are body and tail",
        "left_femur": "the whole femur in view",
        "right_femur": "the whole femur in view",
    },
    overlaps=("AbdomenAtlas1_1Mini, and the collections that it is made of (scans of the same pools)",),
    unchecked=(
        "which veins `veins` holds, and whether `prostate` holds the uterus of women",
        "which masks were drawn and which come from models",
        "that a case has all 28 files; a missing one is taken as not in view",
    ),
)
