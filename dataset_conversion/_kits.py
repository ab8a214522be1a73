"""Facts that the three KiTS releases share."""

from typing import Any

from ..conversion.declaration import CC_BY_NC_SA_4
from ._abdomen import KIDNEY

COMMON: dict[str, Any] = {
    "region": "abdomen",
    "license": CC_BY_NC_SA_4,
    # As the repositories' own tool fetches them, and as on huggingface.co.
    "images": ("case_{case}/imaging.nii.gz", "images/case_{case}.nii.gz"),
    "case": r"\d{5}",
    "merged_labels": KIDNEY,
}
WITH_CYSTS = {
    **COMMON,
    "reference": "Heller et al., The KiTS21 Challenge, arXiv 2307.01984",
    "values": {1: "kidney", 2: "kidney_tumor", 3: "kidney_cyst"},
    "nested": {"kidney_tumor": "kidney", "kidney_cyst": "kidney"},
}
