"""Classes by name: what a name says, which names mean the same, how structures nest.

- words: the words of a name, whatever the structure
- table: the class table: structures, what they lie in, whose borders differ
- synonyms: what datasets call them, as data
- lookup: from a name to the class that it means
- nesting: whether a class lies in another one, by their names
- sides: the side that a name says, and which names differ in it only
- codes: what a class is in SNOMED CT
- similar: names that are nearly the same
"""

from nnunetv2_cdpd.classes.codes import OWN_SCHEME, Code, CodedClass, coded_class
from nnunetv2_cdpd.classes.lookup import (
    ClassKey,
    canonical_name,
    class_key,
    compatible_pairs,
    names_both_sides,
    normal_words,
    organ_of,
    says_tumor,
    structure,
)
from nnunetv2_cdpd.classes.nesting import lies_in_by_name, outer_keys
from nnunetv2_cdpd.classes.sides import is_of_both_sides, lateral_pairs, side_of
from nnunetv2_cdpd.classes.similar import nearly_same
from nnunetv2_cdpd.classes.table import ANY, CLASS_TABLE, KIDNEYS, LUNGS, OTHER_STRUCTURES, Structure
from nnunetv2_cdpd.classes.words import SCOPE, name_key, name_words, unscoped

__all__ = [
    "ANY",
    "CLASS_TABLE",
    "KIDNEYS",
    "LUNGS",
    "OTHER_STRUCTURES",
    "OWN_SCHEME",
    "SCOPE",
    "ClassKey",
    "Code",
    "CodedClass",
    "Structure",
    "canonical_name",
    "class_key",
    "coded_class",
    "compatible_pairs",
    "is_of_both_sides",
    "lateral_pairs",
    "lies_in_by_name",
    "name_key",
    "name_words",
    "names_both_sides",
    "nearly_same",
    "normal_words",
    "organ_of",
    "outer_keys",
    "says_tumor",
    "side_of",
    "structure",
    "unscoped",
]
