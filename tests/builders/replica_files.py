"""Made-up volumes with known structures, and image files of them: NIfTI in any order of axes, DICOM series."""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

SHAPE = (26, 24, 18)
AFFINE = np.array([[0.8, 0, 0, -11.5], [0, 0.9, 0, 7.25], [0, 0, 2.5, -40], [0, 0, 0, 1.0]])  # RAS, mm
OUTSIDE_HU, TISSUE_HU = -400, 60


@dataclass
class Truth:
    """What a case was made from: HU and the mask of every structure, RAS."""

    image: np.ndarray
    masks: dict[str, np.ndarray]
    source: str | None = None
    ignored: np.ndarray | None = None


def make_truth(structures, seed, source=None) -> Truth:
    """A dark volume with a bright box of 2 x 2 x 2 voxels per structure, left ones on the left."""
    structures = list(structures)
    generator = np.random.default_rng([seed, crc32(" ".join(structures).encode())])  # LiTS and its copy share their scans
    image = generator.normal(OUTSIDE_HU, 20, SHAPE).astype(np.int16)
    cells = {"left": [], "right": [], None: []}
    for index in np.ndindex(*(size // 2 - 1 for size in SHAPE)):
        side = "left" if index[0] < 4 else "right" if index[0] >= 8 else None
        cells[side].append(index)
    masks = {}
    for number, name in enumerate(structures):
        side = "left" if "left" in name.split("_") else "right" if "right" in name.split("_") else None
        cell = cells[side].pop(int(generator.integers(len(cells[side]))))
        mask = np.zeros(SHAPE, bool)
        mask[tuple(slice(2 * c, 2 * c + 2) for c in cell)] = True
        image[mask] = TISSUE_HU + number % 100
        masks[name] = mask
    return Truth(image, masks, source)


def label_of(truth: Truth, names: dict[int, str], dtype=np.uint8) -> np.ndarray:
    label = np.zeros(SHAPE, dtype)
    for value, name in names.items():
        label[truth.masks[name]] = value
    return label


def write_nifti(path: Path, array, axes="RAS", forms="both", affine=AFFINE) -> None:
    """Write an array given in RAS, stored in another order of axes; `forms`: which of the two affines the header has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    image = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axes))))
    image.set_qform(image.affine, 0 if forms == "sform" else 1)
    image.set_sform(image.affine, 0 if forms == "qform" else 2)
    nibabel.save(image, path)


def write_dicom(folder: Path, image, affine=AFFINE, *, names="1-{:03d}.dcm", slope=1, intercept=-1024, top_first=True, **tags):
    """Write a RAS volume as a CT series in the usual direction; the file's number does not follow the position.

    Args:
        tags: Attributes that every file gets, instead of the usual ones; None removes one.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    lps = nibabel.Nifti1Image(image, affine).as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(tuple("LPS"))))
    voxels, matrix = np.asarray(lps.dataobj), np.diag([-1, -1, 1, 1]) @ lps.affine
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    direction = matrix[:3, :3] / spacing
    series, study, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    count = voxels.shape[2]
    paths = []
    for z in range(count):
        number = count - z if top_first else z + 1
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / names.format(number)
        file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        file.PatientID, file.Modality, file.SeriesInstanceUID, file.StudyInstanceUID = "anonymous", "CT", series, study
        file.FrameOfReferenceUID = frame_of_reference
        file.InstanceNumber = number
        file.ImageOrientationPatient = [f"{v:.6g}" for v in (*direction[:, 0], *direction[:, 1])]
        file.ImagePositionPatient = [f"{v:.6f}" for v in matrix[:3, 3] + z * matrix[:3, 2]]
        file.PixelSpacing = [f"{spacing[1]:.6g}", f"{spacing[0]:.6g}"]
        file.SliceThickness = f"{spacing[2]:.6g}"
        file.Rows, file.Columns = voxels.shape[1], voxels.shape[0]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 1
        file.RescaleSlope, file.RescaleIntercept = slope, intercept
        stored = np.rint((voxels[:, :, z].T.astype(float) - intercept) / slope).astype(np.int16)
        file.PixelData = np.ascontiguousarray(stored).tobytes()
        for tag, value in tags.items():
            delattr(file, tag) if value is None else setattr(file, tag, value(z) if callable(value) else value)
        file.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
