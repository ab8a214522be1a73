"""Three tiny nnU-Net raw datasets with partial labels, for tests that run nnU-Net itself."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SPACING = (0.9, 1.1, 2.0)  # SimpleITK order x, y, z in mm; every axis different
STRUCTURES = {  # name -> corner and size in voxels (z, y, x), inside a volume of at least 18 x 26 x 30
    "liver": ((3, 4, 3), (8, 9, 9)),
    "liver_tumor": ((5, 6, 5), (3, 4, 4)),
    "right_kidney": ((4, 16, 4), (7, 6, 6)),
    "left_kidney": ((4, 16, 18), (7, 6, 6)),
    "spleen": ((6, 4, 18), (6, 7, 7)),
}
SOURCES = {  # dataset name -> label name -> structures that it covers
    "Dataset811_Liver": {"liver": ["liver"], "liver_tumor": ["liver_tumor"]},
    "Dataset812_Kidney": {"kidney": ["right_kidney", "left_kidney"]},
    "Dataset813_Organs": {name: [name] for name in ("right_kidney", "left_kidney", "spleen")},
}
SPEC = """
merged_labels:
  kidney: [right_kidney, left_kidney]
nested:
  liver_tumor: liver
"""


def make_case(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray], tuple[int, ...]]:
    """A volume in HU (z, y, x) with bright boxes, the mask of each structure, and its size."""
    generator = np.random.default_rng(seed)
    shape = (18 + seed % 3, 26 + seed % 4, 30 + seed % 5)
    volume = generator.normal(-20, 15, shape)
    masks = {}
    for index, (name, (corner, size)) in enumerate(STRUCTURES.items()):
        mask = np.zeros(shape, bool)
        mask[tuple(slice(c, c + s) for c, s in zip(corner, size))] = True
        volume[mask] += 60 + 30 * index
        masks[name] = mask
    return volume.astype(np.int16), masks, shape


def write_image(path: Path, array: np.ndarray, rotated: bool) -> None:
    """Write an array (z, y, x) with anisotropic spacing, an origin, and a direction that is no identity."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((12.5, -30.0, 7.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1) if rotated else (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


def write_raw_dataset(raw: Path, dataset: str, num_cases: int) -> Path:
    """One source as an nnU-Net raw dataset."""
    folder = raw / dataset
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    labels = SOURCES[dataset]
    for index in range(num_cases):
        case = f"{dataset[7:10]}_{index:02d}"
        volume, masks, shape = make_case(index + int(dataset[7:10]))
        label = np.zeros(shape, np.uint8)
        for value, covered in enumerate(labels.values(), start=1):
            for structure in covered:
                label[masks[structure]] = value
        write_image(folder / "imagesTr" / f"{case}_0000.nii.gz", volume, rotated=index % 2 == 1)
        write_image(folder / "labelsTr" / f"{case}.nii.gz", label, rotated=index % 2 == 1)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{name: value for value, name in enumerate(labels, start=1)}},
        "numTraining": num_cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def write_test_set(folder: Path, num_cases: int = 2) -> None:
    """Fully labelled cases that are in no dataset, values 1 ... in the order of STRUCTURES, nested as regions."""
    (folder / "imagesTs").mkdir(parents=True)
    (folder / "labelsTs").mkdir()
    for index in range(num_cases):
        volume, masks, shape = make_case(1000 + index)
        label = np.zeros(shape, np.uint8)
        for value, mask in enumerate(masks.values(), start=1):
            label[mask] = value
        write_image(folder / "imagesTs" / f"unseen_{index}_0000.nii.gz", volume, rotated=index % 2 == 0)
        write_image(folder / "labelsTs" / f"unseen_{index}.nii.gz", label, rotated=index % 2 == 0)
    values = {name: value for value, name in enumerate(STRUCTURES, start=1)}
    labels = {"background": 0, **values, "liver": [values["liver"], values["liver_tumor"]]}
    description = {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "regions_class_order": list(values.values()),
        "numTraining": 0,
        "file_ending": ".nii.gz",
    }
    (folder / "labelsTs" / "dataset.json").write_text(json.dumps(description))
