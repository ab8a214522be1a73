"""The paper's prompts, word for word: a typo changes an embedding, so theirs are kept.

Misspelt on purpose, as released: "Arota" (aorta, in the class prompt only) and "Celiac Truck" (celiac trunk). The task
prompt of AbdomenCT-12organ leaves the left kidney out.

Source: CDPDNet, arXiv 2505.18958, as released (github wujiong-hub/CDPDNet, pretrained_weights); embedded there by CLIP
ViT-B/32, not normalised.
"""

_CLASS_NAMES = (
    *("Spleen", "Right Kidney", "Left Kidney", "Gall Bladder", "Esophagus", "Liver", "Stomach", "Arota", "Postcava"),
    *("Portal Vein and Splenic Vein", "Pancreas", "Right Adrenal Gland", "Left Adrenal Gland", "Duodenum"),
    *("Hepatic Vessel", "Right Lung", "Left Lung", "Colon", "Intestine", "Rectum", "Bladder", "Prostate"),
    *("Left Head of Femur", "Right Head of Femur", "Celiac Truck", "Kidney Tumor", "Liver Tumor", "Pancreas Tumor"),
    *("Hepatic Vessel Tumor", "Lung Tumor", "Colon Tumor", "Kidney Cyst"),
)

# The released task index of a dataset is its place here but for the last three: 8 stands for MSD, 9 for CT-ORG and 10 for
# AbdomenCT-12organ there. That changes nothing in the released network, which reads the texts of all tasks together.
_TASK_NAMES = {
    "BTCV": "Spleen, Right Kidney, Left Kidney, Gall Bladder, Esophagus, Liver, Stomach, Aorta, Postcava, Portal Vein, "
    "Splenic Vein, Pancreas, Right Adrenal Gland, Left Adrenal Gland, Duodenum",
    "Pancreas-CT": "Spleen, Left Kidney, Gall Bladder, Esophagus, Liver, Stomach, Pancreas, Duodenum",
    "CHAOS": "Liver",
    "LiTS": "Liver, Liver Tumor",
    "KiTS": "Right Kidney, Left Kidney, Kidney Tumor, Kidney Cyst",
    "WORD": "Liver, Spleen, Left Kidney, Right Kidney, Stomach, Gall Bladder, Esophagus, Pancreas, Duodenum, Colon, "
    "Intestine, Right Adrenal Gland, Left Adrenal Gland, Rectum, Bladder, Left Head of Femur, Right Head of Femur",
    "AbdomenCT-1K": "Liver, Right Kidney, Left Kidney, Spleen, Pancreas",
    "AMOS": "Spleen, Right Kidney, Left Kidney, Gall Bladder, Esophagus, Liver, Stomach, Aorta, Postcava, Pancreas, "
    "Right Adrenal Gland, Left Adrenal Gland, Duodenum, Bladder, Prostate",
    "CT-ORG": "Liver, Bladder, Right Lung, Left Lung, Right Kidney, Left Kidney",
    "AbdomenCT-12organ": "Liver, Right Kidney, Spleen, Pancreas, Aorta, Postcava, Stomach, Gall Bladder, Esophagus, "
    "Right Adrenal Gland, Left Adrenal Gland, Celiac Truck",
    "MSD": "Spleen, Liver, Pancreas, Liver Tumor, Lung Tumor, Pancreas Tumor, Hepatic Vessel, Hepatic Vessel Tumor, Colon Tumor",
}

PAPER_CLASS_PROMPTS = tuple(f"A computerized tomography of a {name}" for name in _CLASS_NAMES)
PAPER_TASK_PROMPT_OF = {
    source: f"A task of segmenting {names} in computerized tomography" for source, names in _TASK_NAMES.items()
}
PAPER_TASK_PROMPTS = tuple(PAPER_TASK_PROMPT_OF.values())
