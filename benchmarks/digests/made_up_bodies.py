"""Made-up bodies: a CT volume and the masks of its structures, written as NIfTI or DICOM in any order of axes."""

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

SPACING = np.array([5.0, 5.7, 7.5])  # mm, RAS: organs are then as far apart as in a body, in few voxels
STRUCTURES = {  # name -> centre and radii as shares of the volume, towards right, front and head; HU
    "liver": ((0.68, 0.56, 0.70), (0.20, 0.22, 0.17), 110),
    "liver_tumor": ((0.72, 0.58, 0.70), (0.06, 0.07, 0.06), 60),
    "right_kidney": ((0.69, 0.30, 0.40), (0.08, 0.09, 0.13), 170),
    "left_kidney": ((0.31, 0.31, 0.42), (0.08, 0.09, 0.13), 165),
    "kidney_tumor": ((0.31, 0.34, 0.36), (0.05, 0.05, 0.06), 80),
    "kidney_cyst": ((0.70, 0.28, 0.46), (0.04, 0.04, 0.05), 5),
    "spleen": ((0.24, 0.42, 0.70), (0.09, 0.11, 0.13), 130),
    "stomach": ((0.38, 0.68, 0.62), (0.10, 0.09, 0.10), 30),
    "pancreas": ((0.50, 0.50, 0.52), (0.10, 0.06, 0.06), 95),
    "colon": ((0.50, 0.74, 0.25), (0.18, 0.06, 0.07), -40),
    "portal_vein_and_splenic_vein": ((0.53, 0.44, 0.56), (0.03, 0.04, 0.16), 190),
    "left_lung": ((0.28, 0.55, 0.92), (0.10, 0.16, 0.07), -750),
    "right_lung": ((0.72, 0.55, 0.92), (0.10, 0.16, 0.07), -750),
}


def make_body(seed):
    """A volume in HU and the mask of each structure, RAS; sizes differ from case to case, and organs move a little."""
    generator = np.random.default_rng(seed)
    shape = (40 + seed % 3, 33 + seed % 4, 26 + seed % 2)
    grid = [(np.arange(size) + 0.5).reshape([-1 if axis == i else 1 for i in range(3)]) / size for axis, size in enumerate(shape)]

    def ellipsoid(centre, radii):
        return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii)) <= 1

    texture = generator.normal(0, 1, shape)
    for axis in range(3):  # structures of a few voxels, by which copies of a scan are known
        texture = (texture + np.roll(texture, 1, axis) + np.roll(texture, -1, axis)) / 3
    image = np.where(ellipsoid((0.5, 0.5, 0.5), (0.47, 0.44, 9.0)), 20 + 60 * texture / texture.std(), -1000.0)
    masks = {}
    for name, (centre, radii, hu) in STRUCTURES.items():
        masks[name] = ellipsoid(np.add(centre, generator.uniform(-0.015, 0.015, 3)), radii)
        image[masks[name]] = hu
    image += generator.normal(0, 12, shape)
    return np.rint(image).astype(np.int16), masks


def label_of(masks, values, dtype=np.uint8):
    """Value -> names that it covers, one or several; later ones lie over earlier ones."""
    label = np.zeros(next(iter(masks.values())).shape, dtype)
    for value, names in values.items():
        for name in [names] if isinstance(names, str) else names:
            label[masks[name]] = value
    return label


def affine_of(turned=0.0):
    """RAS to mm, with an origin; turned: degrees about the body's axis."""
    angle = np.deg2rad(turned)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * SPACING
    affine[:3, 3] = (-101.5, -87.25, -140.0)
    return affine


def write_nifti(path, array, axes="RAS", turned=0.0, affine=None):
    """Write an array given in RAS, stored in another order and direction of axes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = affine_of(turned) if affine is None else affine
    image = nibabel.Nifti1Image(array, affine)
    image = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axes))))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 2)
    nibabel.save(image, path)


def write_dicom(folder, array, *, slope=1.0, intercept=-1024, names="1-{:03d}.dcm", tilt=0.0, leave_out=(), number=1, **tags):
    """Write a RAS volume as a CT series, its files in no order; tilt: mm that each slice lies further to the front.

    UIDs come from the folder's name, since new ones would differ from run to run.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    affine = affine_of()
    lps = nibabel.Nifti1Image(array, affine).as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(tuple("LPS"))))
    voxels, matrix = np.asarray(lps.dataobj), np.diag([-1, -1, 1, 1]) @ lps.affine

    def uid_of(*parts):
        return generate_uid(entropy_srcs=["/".join(folder.parts[-2:]), *map(str, (number, *parts))])

    for z in sorted(set(range(voxels.shape[2])) - set(leave_out)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uid_of("slice", z)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / names.format(voxels.shape[2] - z)
        file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        file.PatientID, file.Modality, file.SeriesNumber = "anonymous", "CT", number
        file.SeriesInstanceUID, file.StudyInstanceUID = uid_of("series"), uid_of("study")
        file.InstanceNumber = voxels.shape[2] - z
        position = matrix[:3, 3] + z * matrix[:3, 2] + [0, -tilt * z, 0]
        file.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        file.ImagePositionPatient = [f"{value:.6f}" for value in position]
        file.PixelSpacing, file.SliceThickness = [f"{SPACING[1]:.6g}", f"{SPACING[0]:.6g}"], f"{SPACING[2]:.6g}"
        file.Rows, file.Columns = voxels.shape[1], voxels.shape[0]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 1
        file.RescaleSlope, file.RescaleIntercept = slope, intercept
        stored = np.rint((voxels[:, :, z].T.astype(float) - intercept) / slope).astype(np.int16)
        file.PixelData = np.ascontiguousarray(stored).tobytes()
        for tag, value in tags.items():
            setattr(file, tag, value)
        file.save_as(path, enforce_file_format=True)
