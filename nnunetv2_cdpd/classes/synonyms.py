"""Synonyms: what datasets call the structures that they share, as data; `lookup` reads it.

Only what no rule can know: case, separators, a side before, after or abbreviated, British spelling and plurals are rules.
A name means one structure or none: what is a part of something (abdominal aorta), more of it (bowel, vena cava) or may be
two things (LV, cancer) is not here and stays a class of its own.

Sources: class maps of TotalSegmentator (map_to_binary.py, v1 to v3); dataset.json of AMOS22 (its "arota"), FLARE22, WORD, BTCV
(MONAI's "rkid"; its "lad" is a coronary artery too), CHAOS, MSD and MM-WHS; masks of AbdomenAtlas and PanTS; AAPM TG-263 (Mayo et
al., Int J Radiat Oncol Biol Phys 2018).
"""

from collections.abc import Mapping

SIDE = "SIDE"  # stands for left and right, each a class of its own

# Name here -> names elsewhere. The name here is the class table's, else that of the datasets that `cdpd convert` makes, else
# TotalSegmentator's. A name elsewhere without SIDE holds for the structure with and without its side.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    # abdomen and pelvis
    "SIDE_kidney": (),
    "left_kidney": ("lkid",),
    "right_kidney": ("rkid",),
    "gallbladder": ("gall",),
    "esophagus": ("eso",),
    "stomach": ("sto",),
    "SIDE_adrenal_gland": ("adrenal", "suprarenal", "suprarenal gland", "Glnd_Adrenal"),
    "left_adrenal_gland": ("LAG",),
    "right_adrenal_gland": ("RAG",),
    "intestine": ("small bowel", "small intestine", "Bowel_Small", "intestine small"),
    "large_bowel": ("large intestine", "Bowel_Large"),
    "bowel_bag": ("Bag_Bowel",),
    "bladder": ("urinary bladder",),
    "prostate": ("prostate/uterus", "prostate_uterus", "prostate gland"),
    "sigmoid_colon": ("sigmoid", "Colon_Sigmoid"),
    "anal_canal": ("Canal_Anal",),
    "seminal_vesicle": ("SeminalVes",),
    "penile_bulb": ("Bulb_Penile",),
    "common_bile_duct": (),
    "pancreatic_duct": (),
    "pancreas_head": ("head of pancreas", "pancreatic head"),
    "pancreas_body": ("body of pancreas", "pancreatic body"),
    "pancreas_tail": ("tail of pancreas", "pancreatic tail"),
    "colon_tumor": ("colon cancer primaries",),
    # vessels
    "aorta": ("arota", "A_Aorta"),
    "postcava": ("inferior vena cava", "IVC", "vena cava inferior", "V_Venacava_I"),
    "superior_vena_cava": ("SVC", "vena cava superior", "V_Venacava_S"),
    "portal_vein_and_splenic_vein": (
        "portal and splenic vein",
        "portal vein splenic vein",
        "portal splenic vein",
        "portal vein & splenic vein",
        "portal vein/splenic vein",
    ),
    "portal_vein": ("V_Portal",),
    "hepatic_vessel": ("liver vessel",),
    "celiac_trunk": ("celiac artery", "celiac axis", "truncus coeliacus", "A_Celiac"),
    "superior_mesenteric_artery": ("SMA", "A_Mesenteric_S"),
    "pulmonary_artery": ("A_Pulmonary",),
    "pulmonary_vein": ("V_Pulmonary",),
    "ascending_aorta": ("aorta ascending", "A_Aorta_Asc"),
    "brachiocephalic_trunk": ("A_Brachiocephls", "innominate artery"),
    "brachiocephalic_vein_SIDE": ("V_Brachioceph",),
    "subclavian_artery_SIDE": ("A_Subclavian",),
    "common_carotid_artery_SIDE": ("carotid common artery",),
    "iliac_artery_SIDE": ("A_Iliac",),
    "iliac_vena_SIDE": ("iliac vein", "V_Iliac"),
    "renal_artery": ("A_Renal",),
    "renal_vein": ("V_Renal",),
    # chest
    "SIDE_lung": (),
    "lung_upper_lobe_SIDE": ("upper lobe", "upper lung lobe", "lung lobe upper", "SIDE upper lobe of lung"),
    "lung_middle_lobe_right": ("right middle lobe", "middle lobe", "RML"),
    "lung_lower_lobe_SIDE": ("lower lobe", "lower lung lobe", "lung lobe lower", "SIDE lower lobe of lung"),
    "lung_upper_lobe_left": ("LUL",),
    "lung_upper_lobe_right": ("RUL",),
    "lung_lower_lobe_left": ("LLL",),
    "lung_lower_lobe_right": ("RLL",),
    "trachea": (),
    "heart_myocardium": ("myocardium", "myocardium of the left ventricle", "left ventricle myocardium"),
    "heart_atrium_SIDE": ("SIDE_atrium", "SIDE atrium blood cavity"),
    "heart_ventricle_SIDE": ("SIDE_ventricle", "SIDE ventricle blood cavity"),
    "atrial_appendage_left": (),
    "breast_SIDE": (),
    # head and neck
    "brain": (),
    "brainstem": (),
    "temporal_lobe_SIDE": ("Lobe_Temporal",),
    "face": (),
    "skull": (),
    "larynx": (),
    "mandible": ("Bone_Mandible", "lower jaw"),
    "oral_cavity": ("Cavity_Oral",),
    "thyroid_gland": ("thyroid", "Glnd_Thyroid"),
    "pituitary_gland": ("pituitary", "hypophysis", "Glnd_Pituitary"),
    "parotid_gland_SIDE": ("parotid", "Glnd_Parotid"),
    "submandibular_gland_SIDE": ("submandibular", "Glnd_Submand"),
    "lacrimal_gland_SIDE": ("lacrimal", "Glnd_Lacrimal"),
    "eye_SIDE": ("eyeball",),
    "eye_lens_SIDE": ("lens",),
    "optic_nerve_SIDE": ("OpticNrv",),
    "optic_chiasm": ("OpticChiasm", "chiasm"),
    "cochlea_SIDE": (),
    # bones, muscles, spinal cord
    "SIDE_femur": (),
    "SIDE_head_of_femur": ("femoral head", "femur head"),
    "hip_SIDE": ("hip bone", "innominate bone", "os coxae"),
    "humerus_SIDE": (),
    "scapula_SIDE": ("shoulder blade",),
    "clavicula_SIDE": ("clavicle", "collarbone"),
    "sacrum": ("Bone_Sacrum",),
    "pelvis": ("Bone_Pelvic",),
    "sternum": (),
    "costal_cartilages": (),
    "lumbar_vertebrae": ("lumbar spine", "L spine"),
    "spinal_cord": (),
    "gluteus_maximus_SIDE": (),
    "gluteus_medius_SIDE": (),
    "gluteus_minimus_SIDE": (),
    "autochthon_SIDE": (),
    "iliopsoas_SIDE": (),
    **{f"rib_SIDE_{number}": () for number in range(1, 13)},
    **{
        f"vertebrae_{level}": (level, f"VB_{level}", f"{level}_vertebra")
        for letter, last in (("C", 7), ("T", 13), ("L", 6), ("S", 1))
        for level in (f"{letter}{number}" for number in range(1, last + 1))
    },
    # what lies in organs
    "SIDE_kidney_cyst": (),
}

# ---- words -----------------------------------------------------------------------------------------------------------

AMERICAN: Mapping[str, str] = {
    "tumour": "tumor",
    "tumours": "tumors",
    "oesophagus": "esophagus",
    "oesophageal": "esophageal",
    "coeliac": "celiac",
    "caecum": "cecum",
    "caecal": "cecal",
    "haematoma": "hematoma",
    "haemorrhage": "hemorrhage",
    "haemangioma": "hemangioma",
    "oedema": "edema",
    "foetus": "fetus",
    "foetal": "fetal",
    "faeces": "feces",
    "grey": "gray",
    "centre": "center",
}
SINGULARS: Mapping[str, str] = {
    "vertebrae": "vertebra",
    "metastases": "metastasis",
    "femora": "femur",
    "humeri": "humerus",
    "scapulae": "scapula",
    "claviculae": "clavicula",
    "testes": "testis",
    "bronchi": "bronchus",
    "atria": "atrium",
    "costae": "costa",
    "fibulae": "fibula",
    "tibiae": "tibia",
    "nuclei": "nucleus",
    "ganglia": "ganglion",
    "cochleae": "cochlea",
}
BOTH_SIDES = frozenset(("both", "bilateral"))  # as if no side were said
BETWEEN_SIDES = frozenset(("and", "or", "&", "+", "/"))
NO_PLURALS = frozenset(("veins",))  # a class of the table, of several vessels; a `vein` is one of them

# Words that make a class something in or at an organ: a tumor, or what is taken for one
TUMOR_WORDS = frozenset("tumor cyst lesion cancer carcinoma neoplasm metastasis nodule".split())
# Where tumors of other organs settle: a metastasis of one of these lies in it, one of the prostate or breast elsewhere
SITES_OF_METASTASES = frozenset(("adrenalgland", "bone", "brain", "liver", "lung", "spleen"))
SAME_AS_TUMOR = frozenset(("cancer",))  # beside the name of an organ; of a lesion or cyst not everybody says so
# Adjectives with such a word mean the organ; a renal vein is no kidney vein
ORGAN_OF_ADJECTIVE: Mapping[str, str] = {
    "renal": "kidney",
    "hepatic": "liver",
    "pancreatic": "pancreas",
    "pulmonary": "lung",
    "colonic": "colon",
    "splenic": "spleen",
    "gastric": "stomach",
    "esophageal": "esophagus",
    "prostatic": "prostate",
    "rectal": "rectum",
    "uterine": "uterus",
    "cerebral": "brain",
}
