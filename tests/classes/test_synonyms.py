"""Which names mean the same class: the rules for words, the table of synonyms, and what must stay apart."""

import pytest

from nnunetv2_cdpd.classes import (
    CLASS_TABLE,
    KIDNEYS,
    LUNGS,
    OTHER_STRUCTURES,
    canonical_name,
    class_key,
    lateral_pairs,
    name_words,
    nearly_same,
    organ_of,
    says_tumor,
    side_of,
    structure,
)
from nnunetv2_cdpd.classes.synonyms import SIDE, SYNONYMS
from nnunetv2_cdpd.conversion.registry import public_datasets

LEFT_KIDNEY = """
left_kidney kidney_left kidney_l l_kidney kidney-l KidneyL LKidney lkidney leftkidney kidneyleft Kidney_L LEFT_KIDNEY lt_kidney
""".split()


@pytest.mark.parametrize("name", [*LEFT_KIDNEY, "Left Kidney", "Kidney, left", "Kidney (L)", "L. kidney", "left kidneys"])
def test_every_way_to_say_a_side_is_one_class(name):
    assert canonical_name(name) == structure(name).name == "left_kidney"
    assert class_key(name) != class_key("right_kidney") and class_key(name) != class_key("kidney")


SAME = {  # our name: what others call it
    "liver_tumor": "liver_tumour LiverTumour hepatic_tumors liver_cancer Liver-Tumours",
    "esophagus": "oesophagus Esophagus",
    "gallbladder": "gall_bladder GallBladder",
    "postcava": "inferior_vena_cava IVC V_Venacava_I",
    "superior_vena_cava": "SVC V_Venacava_S",
    "aorta": "arota A_Aorta",  # AMOS22 writes so
    "prostate": "prostate/uterus Prostate",
    "celiac_trunk": "celiac_artery coeliac_trunk A_Celiac",
    "right_adrenal_gland": "adrenal_gland_right RAG Glnd_Adrenal_R suprarenal_gland_right",
    "left_adrenal_gland": "LAG left_adrenal",
    "adrenal_gland": "adrenal",  # WORD
    "lung": "Lungs both_lungs Lung_Both left_and_right_lung Lung_L+R",
    "right_kidney": "rkid",
    "intestine": "small_bowel Bowel_Small small_intestine intestines",
    "bladder": "urinary_bladder Bladder",
    "left_head_of_femur": "Head_of_femur_L Femur_Head_L femoral_head_left",
    "left_femur": "femur_left Femur_L",
    "left_lung": "lung_left Lung_L",
    "lung_upper_lobe_left": "left_upper_lobe LUL upper_lobe_left",
    "portal_vein_and_splenic_vein": "portal_and_splenic_vein PortalVeinAndSplenicVein",
    "heart_atrium_left": "left_atrium Atrium_L",
    "heart_ventricle_right": "Ventricle_R right_ventricle",
    "heart_myocardium": "myocardium",
    "spinal_cord": "SpinalCord",
    "brainstem": "Brainstem BrainStem",
    "oral_cavity": "Cavity_Oral",
    "sacrum": "Bone_Sacrum",
    "pelvis": "Bone_Pelvic",
    "temporal_lobe_left": "Lobe_Temporal_L left_temporal_lobe",
    "thyroid_gland": "Glnd_Thyroid thyroid",
    "parotid_gland_left": "Parotid_L LeftParotid",
    "eye_right": "Eye_R right_eye",
    "bowel_bag": "Bag_Bowel",
    "hip_left": "left_hip Hip_L left_hip_bone",
    "clavicula_right": "right_clavicle",
    "rib_left_1": "left_rib_1 rib_1_left",
    "vertebrae_L1": "L1 vertebra_L1 vertebraL1 VertebraeL1 VB_L1",
    "vertebrae_T12": "T12 vertebrae_T12",
    "colon_tumor": "colon_cancer_primaries",
    "kidney_cyst": "renal_cyst kidney_cysts",
    "left_kidney_cyst": "kidney_cyst_left",
    "hepatic_vessel": "hepatic_vessels liver_vessel",
}


@pytest.mark.parametrize("ours, theirs", [(ours, theirs) for ours, names in SAME.items() for theirs in (ours, *names.split())])
def test_names_of_other_datasets_mean_ours(ours, theirs):
    assert canonical_name(theirs) == ours


@pytest.mark.parametrize("name", "Heart Larynx Liver Pancreas Rectum Spleen Stomach Trachea Esophagus Mandible".split())
def test_plain_names_of_tg_263_are_ours(name):
    assert canonical_name(name) == name.lower()


APART = [
    "lung left_lung right_lung lung_upper_lobe_left",
    "kidney left_kidney right_kidney kidney_tumor kidney_cyst renal_vein",
    "bowel colon intestine large_bowel bowel_bag",
    "heart heart_left heart_atrium_left heart_atrium_right heart_ventricle_left heart_myocardium ventricle",
    "L1 l left lung_l1 L_vertebra L2 vertebrae_L",
    "bladder gallbladder",
    "vena_cava postcava superior_vena_cava",
    "tumor cancer lesion cyst liver_tumor liver_lesion liver_cyst",
    "veins vein renal_vein portal_vein portal_vein_and_splenic_vein hepatic_vessel",
    "left_femur left_head_of_femur femur",
    "aorta ascending_aorta abdominal_aorta",
    "prostate uterus",
    "liver+tumor liver_tumor liver",
    "seg_1 seg_2 seg",
]


@pytest.mark.parametrize("names", APART)
def test_false_friends_stay_apart(names):
    assert len({class_key(name) for name in names.split()}) == len(names.split())


def test_letters_of_other_alphabets_are_not_lost():
    assert class_key("肝臓") != class_key("膵臓") and class_key("肝 liver") != class_key("liver")
    assert class_key("Vésicule") == class_key("vesicule")
    assert class_key("liver\u200b") == class_key("li\u00adver") == class_key("\ufeffliver") == class_key("liver")


def test_a_letter_is_a_side_as_a_word_of_its_own_only():
    assert side_of("vertebraL1") is None and name_words("vertebraL1") == ("vertebra", "l1")
    assert [side_of(name) for name in ("L_spine", "spine L", "Left spine", "lumbar", "Lung")] == [None, None, "left", None, None]
    assert lateral_pairs(["kidney_l", "Kidney R", "L1", "R1"]) == [("kidney_l", "Kidney R")]


def test_no_name_of_the_table_means_two_classes():
    meant = {}
    for ours, others in SYNONYMS.items():
        for side in ("left", "right") if SIDE in ours else ("",):
            for name in (ours, *others):
                if SIDE in ours and SIDE not in name:
                    name = f"{side} {name}"
                name, goal = name.replace(SIDE, side), ours.replace(SIDE, side)
                assert canonical_name(name) == goal
                assert meant.setdefault(class_key(name), goal) == goal
    for entry in (*CLASS_TABLE, *OTHER_STRUCTURES):
        assert canonical_name(entry.name) == structure(entry.name).name == entry.name
    spelled_in_one_word = {f"{letter}{name}" for name in ("ung", "iver", "ib", "ectum") for letter in "lr"}
    assert all(class_key(name).side is None for name in spelled_in_one_word)


@pytest.mark.parametrize("dataset", public_datasets().values(), ids=lambda dataset: dataset.name)
def test_converted_datasets_keep_their_names_and_download_names_mean_them(dataset):
    names = [name for name in dict.fromkeys([*dataset.values.values(), *dataset.unions]) if name is not None]
    assert len({class_key(name) for name in names}) == len(names)
    assert {name: canonical_name(name) for name in names if canonical_name(name) not in (None, name)} == {}
    lesions = {"pancreatic_lesion"}  # of PanTS all is taken for a tumor; a lesion of others may be none
    masks = {theirs: ours for theirs, ours in dataset.values.items() if isinstance(theirs, str) and ours is not None}
    assert {name for name, ours in masks.items() if class_key(name) != class_key(ours)} <= lesions


def test_a_scope_stays_with_the_class():
    assert canonical_name("Left Kidney@MSD") == "left_kidney@MSD"
    assert class_key("kidney_l@MSD") == class_key("left_kidney@msd") != class_key("left_kidney")


def test_what_no_table_knows_stays_what_it_is():
    assert canonical_name("My Gland") is None and structure("My Gland").name == "My Gland"
    assert class_key("My Gland") == class_key("my_glands") and class_key("gland_left") == class_key("Left Gland")


def test_tumors_name_their_organ():
    assert [says_tumor(name) for name in ("Renal Tumours", "cyst", "lesions", "tumorous")] == [True, True, True, False]
    assert organ_of("Renal Tumours") == class_key("kidney").base and organ_of("adrenal_lesion") == class_key("left_adrenal").base
    assert organ_of("tumor") is None and organ_of("liver") is None
    assert structure("renal_tumour").parents == KIDNEYS and structure("pulmonary tumor").parents == LUNGS


@pytest.mark.parametrize(
    "name, like",
    [
        ("livr", "liver"),
        ("Left Kidny", "left_kidney"),
        ("spelen", "spleen"),
        ("Prostata", "prostate"),
        ("galbladder", "gallbladder"),
    ],
)
def test_a_slip_of_the_pen_is_near(name, like):
    assert nearly_same(name, []) == like


@pytest.mark.parametrize("name", ["esophagus_wall", "kidney_cortex", "hepatic_artery", "vertebrae_L7", "gland", "rig"])
def test_another_structure_is_not_near(name):
    assert nearly_same(name, []) is None


def test_near_among_the_others_keeps_side_and_number():
    assert nearly_same("glnad_left", ["gland_right", "gland_left"]) == "gland_left"
    assert nearly_same("nodule 2", ["nodul 1"]) is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("lh_hippocampus", "rh_hippocampus"),  # FreeSurfer
        ("ctx-lh-insula", "ctx-rh-insula"),
        ("kidney_sin", "kidney_dex"),
        ("femur_sx", "femur_dx"),
        ("Niere links", "Niere rechts"),
        ("linke Niere", "rechte Niere"),
        ("rene sinistro", "rene destro"),
        ("lefttibia", "righttibia"),  # of no table
        ("carotidleft", "carotidright"),
    ],
)
def test_sides_are_known_in_other_words_and_within_one_word(left, right):
    assert (side_of(left), side_of(right)) == ("left", "right") and lateral_pairs([left, right]) == [(left, right)]


@pytest.mark.parametrize("name", ["cleft_palate", "bright_spot", "upright", "sinus", "vertebrae_L1", "tumor_sin_contraste"])
def test_what_only_looks_like_a_side_is_none(name):
    assert side_of(name) is None
