"""Codes: what a class is in SNOMED CT, as DICOM names it; a column of the class table, and of what `synonyms` names beyond it.

Every code is one of the standard's own context groups, with their meaning. A side is a modifier of the code; a tumor or the
like is what it is, in an anatomic region. A class that no row has, or that the standard has no code for, gets a code of our own
that says its name: never one of a structure that is nearly the same.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from nnunetv2_cdpd.classes.lookup import class_key, normal_words, organ_of, says_tumor
from nnunetv2_cdpd.classes.words import unscoped

OWN_SCHEME = "99CDPD"
_LONGEST = 16  # letters of a code


class Code(NamedTuple):
    """A coded concept of DICOM."""

    value: str
    scheme: str
    meaning: str


class CodedClass(NamedTuple):
    """What a class is.

    category: As DICOM sorts what a segment can show.
    kind: The structure itself, or what lies in it.
    side: Of `kind`; None: it has none, or both.
    region: Where a tumor or the like lies; None: `kind` says it, or nobody knows.
    region_side: Of `region`.
    """

    category: Code
    kind: Code
    side: Code | None = None
    region: Code | None = None
    region_side: Code | None = None


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


ANATOMY = _sct("91723000", "Anatomical Structure")
ABNORMAL = _sct("49755003", "Morphologically Abnormal Structure")
SIDES = {"left": _sct("7771000", "Left"), "right": _sct("24028007", "Right")}
# Words of `TUMOR_WORDS`; what is called cancer or carcinoma is at least a neoplasm.
ABNORMALITIES: Mapping[str, Code] = {
    **dict.fromkeys(("tumor", "neoplasm", "cancer", "carcinoma"), _sct("108369006", "Neoplasm")),
    "cyst": _sct("367643001", "Cyst"),
    "lesion": _sct("52988006", "Lesion"),
    "nodule": _sct("27925004", "Nodule"),
    "metastasis": _sct("14799000", "Neoplasm, Secondary"),
}
_VERTEBRAE = {
    "C1": "14806007", "C2": "39976000", "C3": "113205007", "C4": "5329002", "C5": "36978003", "C6": "36054005",
    "C7": "87391001", "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006",
    "T6": "45296009", "T7": "62487009", "T8": "11068009", "T9": "82687006", "T10": "7610001", "T11": "12989004",
    "T12": "23215003", "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
}  # fmt: skip
_RIB = _sct("113197003", "Rib")  # the standard does not number them
_BLOOD_VESSEL = _sct("59820001", "Blood Vessel")

# Structure without its side -> code; with its side where the code says that, too.
STRUCTURE_CODES: Mapping[str, Code] = {
    # the class table
    "spleen": _sct("78961009", "Spleen"),
    "kidney": _sct("64033007", "Kidney"),
    "gallbladder": _sct("28231008", "Gallbladder"),
    "esophagus": _sct("32849002", "Esophagus"),
    "liver": _sct("10200004", "Liver"),
    "stomach": _sct("69695003", "Stomach"),
    "aorta": _sct("15825003", "Aorta"),
    "postcava": _sct("64131007", "Inferior vena cava"),
    "portal_vein_and_splenic_vein": _sct("29092000", "Vein"),
    "pancreas": _sct("15776009", "Pancreas"),
    "adrenal_gland": _sct("23451007", "Adrenal gland"),
    "duodenum": _sct("38848004", "Duodenum"),
    "hepatic_vessel": _BLOOD_VESSEL,
    "lung": _sct("39607008", "Lung"),
    "colon": _sct("71854001", "Colon"),
    "intestine": _sct("30315005", "Small intestine"),
    "rectum": _sct("34402009", "Rectum"),
    "bladder": _sct("89837001", "Bladder"),
    "prostate": _sct("41216001", "Prostate"),
    "head_of_femur": _sct("2812003", "Head of Femur"),
    "celiac_trunk": _sct("57850000", "Celiac Axis"),
    # beyond it
    "uterus": _sct("35039007", "Uterus"),
    "veins": _sct("29092000", "Vein"),
    "heart": _sct("80891009", "Heart"),
    "heart_atrium": _sct("59652004", "Atrium"),
    "heart_ventricle": _sct("21814001", "Ventricle"),
    "atrial_appendage_left": _sct("33626005", "Left auricular appendage"),
    "ascending_aorta": _sct("54247002", "Ascending aorta"),
    "lumbar_vertebrae": _sct("122496007", "Lumbar spine"),
    "subcutaneous_tissue": _sct("71966008", "Subcutaneous tissue"),
    "muscle": _sct("71616004", "Muscle"),
    "thoracic_cavity": _sct("43799004", "Chest cavity"),
    "bone": _sct("272673000", "Bone"),
    "pericardium": _sct("76848001", "Pericardium"),
    "mediastinum": _sct("72410000", "Mediastinum"),
    "large_bowel": _sct("14742008", "Large intestine"),
    "sigmoid_colon": _sct("60184004", "Sigmoid colon"),
    "seminal_vesicle": _sct("64739004", "Seminal Vesicle"),
    "common_bile_duct": _sct("79741001", "Common bile duct"),
    "pancreatic_duct": _sct("69930009", "Pancreatic duct"),
    "superior_vena_cava": _sct("48345005", "Superior vena cava"),
    "portal_vein": _sct("32764006", "Portal vein"),
    "superior_mesenteric_artery": _sct("42258001", "Superior mesenteric artery"),
    "pulmonary_artery": _sct("81040000", "Pulmonary artery"),
    "pulmonary_vein": _sct("122972007", "Pulmonary vein"),
    "brachiocephalic_trunk": _sct("12691009", "Innominate artery"),
    "brachiocephalic_vein": _sct("8887007", "Innominate vein"),
    "subclavian_artery": _sct("36765005", "Subclavian artery"),
    "common_carotid_artery": _sct("32062004", "Common carotid artery"),
    "iliac_artery": _sct("10293006", "Iliac artery"),
    "iliac_vena": _sct("244411005", "Iliac vein"),
    "renal_artery": _sct("2841007", "Renal artery"),
    "renal_vein": _sct("56400007", "Renal vein"),
    "lung_upper_lobe": _sct("45653009", "Upper lobe of lung"),
    "lung_middle_lobe_right": _sct("72481006", "Middle lobe of right lung"),
    "lung_lower_lobe": _sct("90572001", "Lower lobe of lung"),
    "trachea": _sct("44567001", "Trachea"),
    "breast": _sct("76752008", "Breast"),
    "brain": _sct("12738006", "Brain"),
    "brainstem": _sct("119238007", "Brain Stem"),
    "face": _sct("89545001", "Face"),
    "skull": _sct("89546000", "Skull"),
    "larynx": _sct("4596009", "Larynx"),
    "mandible": _sct("91609006", "Mandible"),
    "oral_cavity": _sct("74262004", "oral cavity"),
    "thyroid_gland": _sct("69748006", "Thyroid"),
    "pituitary_gland": _sct("56329008", "Pituitary"),
    "parotid_gland": _sct("45289007", "Parotid gland"),
    "submandibular_gland": _sct("54019009", "Submandibular gland"),
    "lacrimal_gland": _sct("13561001", "Lacrimal gland"),
    "eye": _sct("81745001", "Eye"),
    "eye_lens": _sct("78076003", "Lens"),
    "optic_nerve": _sct("18234004", "optic nerve"),
    "optic_chiasm": _sct("244453006", "Optic chiasm"),
    "femur": _sct("71341001", "Femur"),
    "humerus": _sct("85050009", "Humerus"),
    "scapula": _sct("79601000", "Scapula"),
    "clavicula": _sct("51299004", "Clavicle"),
    "sacrum": _sct("54735007", "Sacrum"),
    "sternum": _sct("56873002", "Sternum"),
    "costal_cartilages": _sct("50016007", "Costal Cartilage"),
    "spinal_cord": _sct("2748008", "Spinal cord"),
    **{f"rib_{number}": _RIB for number in range(1, 13)},
    **{f"vertebrae_{level}": _sct(value, f"{level} vertebra") for level, value in _VERTEBRAE.items()},
}
# Structures whose code alone would say less than is known.
_REGIONS: Mapping[str, str] = {"hepatic_vessel": "liver", "hepatic_vessel_tumor": "liver"}


@lru_cache(maxsize=4096)
def coded_class(name: str) -> CodedClass:
    """What a class is, by whatever name; with a code of our own where the standard has none, whose meaning is the name."""
    key, side, codes = class_key(name), class_key(name).side, _codes()
    region = _regions().get(key.base)
    if says_tumor(name):
        organ = organ_of(name)
        region = region or codes.get((organ or "", None))
        words = [word for word in normal_words(unscoped(name)) if word in ABNORMALITIES]
        if not words or (region is None and organ is not None):  # without its region it would look like one of anywhere
            return CodedClass(ABNORMAL, own_code(name))
        return CodedClass(ABNORMAL, ABNORMALITIES[words[-1]], None, region, SIDES.get(side or "") if region else None)
    if (key.base, side) in codes:
        return CodedClass(ANATOMY, codes[key.base, side], None, region)
    if (key.base, None) in codes:
        return CodedClass(ANATOMY, codes[key.base, None], SIDES.get(side or ""), region)
    return CodedClass(ANATOMY, own_code(name))


def own_code(name: str) -> Code:
    """A code of our own scheme for a class name: the name itself where it can be one, else a digest of it."""
    is_code = re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{_LONGEST}}}", name)
    return Code(name if is_code else sha256(name.encode("utf-8", "replace")).hexdigest()[:_LONGEST], OWN_SCHEME, name)


@lru_cache(maxsize=1)
def _codes() -> dict[tuple[str, str | None], Code]:
    """Base and side of a class key -> code; side None: of any."""
    return {class_key(name)[:2]: code for name, code in STRUCTURE_CODES.items()}


@lru_cache(maxsize=1)
def _regions() -> dict[str, Code]:
    return {class_key(name).base: STRUCTURE_CODES[region] for name, region in _REGIONS.items()}
