"""Facts that the CT tasks of the Medical Segmentation Decathlon share."""

from typing import Any

from ..conversion.declaration import CC_BY_SA_4


def task(number: int, organ: str, case: str, example: str) -> dict[str, Any]:
    """What a task is called, and where its files are.

    Args:
        case: Regular expression of the number in file names.
        example: A file name.
    """
    folder, stem = f"Task{number:02d}_{organ}", organ.lower()
    return {
        "name": f"MSD_{organ}",
        "title": f"Medical Segmentation Decathlon, task {number} {organ}",
        "license": CC_BY_SA_4,
        "link": f"http://medicaldecathlon.com ({folder}.tar)",
        "reference": "Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022, "
        "doi:10.1038/s41467-022-30695-9",
        "layout": f"{folder}/imagesTr/{example}\n{folder}/labelsTr/{example}",
        "images": (f"imagesTr/{stem}_{{case}}.nii.gz",),
        "labels": (f"labelsTr/{stem}_{{case}}.nii.gz",),
        "case": case,
    }
