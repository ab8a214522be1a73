"""The class table: structures that public CT datasets label, how they nest, and what a class name says about its side.

Only facts that hold for every dataset stand here. A class that is not in the table is an ordinary structure without
nesting; a dataset's own YAML or dataset.json always wins over the table.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

SCOPE = "@"  # between the name of a class and the source whose definition of it is meant: "pancreas@MSD"
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

_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]\d+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}


def name_key(name: str) -> str:
    """What makes two class names the same class: letters and digits, without case, `_`, `-` and spaces."""
    return re.sub(r"[\s_\-]+", "", name).lower()


def name_words(name: str) -> tuple[str, ...]:
    """Split a class name into lower-case words: "RightParotid", "right_parotid" -> ("right", "parotid").

    A lone letter stays with its number ("vertebra_L1" -> ("vertebra", "l1")); accents are dropped.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return tuple(word.lower() for word in _WORD.findall(plain))


def side_of(name: str) -> str | None:
    """The side that a class name says, "left" or "right"; None where it says none."""
    sides = {_SIDES[word] for word in name_words(_unscoped(name)) if word in _SIDES}
    return sides.pop() if len(sides) == 1 else None


def without_side(name: str) -> tuple[str, ...]:
    """The words of a class name that do not tell its side: "right_kidney" -> ("kidney",); a scope stays whole."""
    scope = name[len(_unscoped(name)) :]
    return tuple(word for word in name_words(_unscoped(name)) if word not in _SIDES) + ((scope,) if scope else ())


def lateral_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs (left, right) of names that differ in their side only, in the order of the left ones."""
    right = {without_side(name): name for name in names if side_of(name) == "right"}
    return [(name, right[without_side(name)]) for name in names if side_of(name) == "left" and without_side(name) in right]


def compatible_pairs(names: Iterable[str]) -> frozenset[frozenset[str]]:
    """Pairs of these class names that the table calls compatible, or that are one class scoped to different sources."""
    names = tuple(names)
    related = {name: {name_key(other) for other in (_unscoped(name), *structure(name).compatible)} for name in names}
    return frozenset(
        frozenset((name, other))
        for name, other in permutations(names, 2)
        if not related[name].isdisjoint((name_key(_unscoped(other)), ANY))
    )


def structure(name: str) -> Structure:
    """Look a class up in the table by name; a structure without nesting where the table does not have it.

    A scoped class has the facts of its structure under its own name.
    """
    plain, scope, source = name.partition(SCOPE)
    known = _BY_KEY.get(name_key(plain), Structure(plain))
    return replace(known, name=f"{known.name}{SCOPE}{source}") if scope else known


def _unscoped(name: str) -> str:
    return name.partition(SCOPE)[0]


_BY_KEY = {name_key(entry.name): entry for entry in (*CLASS_TABLE, *OTHER_STRUCTURES)}
