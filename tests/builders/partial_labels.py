"""An annotation of three sources, with nesting, a merged label and several possible parents."""

from nnunetv2_cdpd.annotation import Annotation, MergedLabel, Source

CLASSES = ("liver", "right_kidney", "left_kidney", "spleen", "liver_tumor", "kidney_tumor")
ANNOTATION = Annotation(
    classes=CLASSES,
    values=(1, 2, 3, 4, 5, 6),
    regions=((1, 5), (2,), (3,), (4,), (5,), (6,)),
    sources=(
        Source("LITS", ("liver", "liver_tumor")),
        Source("KITS", ("kidney_tumor",), ("kidney",)),
        Source("ORGANS", ("liver", "right_kidney", "left_kidney", "spleen")),
    ),
    merged_labels=(MergedLabel("kidney", 7, ("right_kidney", "left_kidney")),),
    possible_parents={"kidney_tumor": ("right_kidney", "left_kidney")},
)
LITS, KITS, ORGANS = range(3)
STORED = {LITS: (0, 1, 5), KITS: (0, 6, 7), ORGANS: (0, 1, 2, 3, 4)}
SHAPE = (3, 5, 4)
