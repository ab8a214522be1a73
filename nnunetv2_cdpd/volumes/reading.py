"""Reading: nnU-Net's readers, made to read a file whole and as it is meant, or to refuse it by name; and to write so.

Whatever reader a dataset or a model names, it is given a file that it cannot misread: compressed voxels are unpacked here,
against their checksum, and what contradicts itself in a NIfTI header is put right (`volumes.nifti`). What it writes is read back.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.errors import UserError, listed, reason
from nnunetv2_cdpd.jobs import scratch_folder, written_beside
from nnunetv2_cdpd.volumes.grid import Grid, same_for_nnunet
from nnunetv2_cdpd.volumes.nifti import ONE_VOLUME_A_FILE, NiftiFile, is_nifti
from nnunetv2_cdpd.volumes.placement import times
from nnunetv2_cdpd.volumes.said import said_meanwhile
from nnunetv2_cdpd.volumes.text_headers import check_text_header
from nnunetv2_cdpd.volumes.value_types import check_finite
from nnunetv2_cdpd.volumes.whole import check_file, check_whole, itk_reason

_OF_VOLUMES = (SimpleITKIO, NibabelIO, NibabelIOWithReorient)
_DENSE = 8  # a file that is packed this much is sooner unpacked twice than written unpacked


@dataclass(frozen=True)
class CheckedReader(BaseReaderWriter):
    """One of nnU-Net's readers; reads and writes what that reads and writes.

    Every method raises UserError, which names the file: it is missing, damaged, no image, or holds values that are no numbers.
    """

    reader: BaseReaderWriter

    @property
    def supported_file_endings(self) -> list[str]:
        return list(self.reader.supported_file_endings)

    @property
    def name(self) -> str:
        return type(self.reader).__name__

    def read_images(self, image_fnames: Sequence[str | Path]) -> tuple[np.ndarray, dict[str, Any]]:
        """float32 (C, Z, Y, X) and nnU-Net's properties; one file per channel, or a colour image.

        Volumes with several values per voxel are refused: nnU-Net reads some, but cannot write a label map beside them.
        """
        array, properties = self._read(self.reader.read_images, image_fnames, several=False)
        axes = len(properties["sitk_stuff"]["spacing"]) if "sitk_stuff" in properties else 3
        if axes > 3 or len(properties["spacing"]) < 3:  # a fourth axis, or a vector per voxel
            names = ", ".join(map(str, image_fnames))
            raise UserError(f"{names}: several values per voxel, not one volume; {ONE_VOLUME_A_FILE}")
        return array, properties

    def read_seg(self, seg_fname: str | Path) -> tuple[np.ndarray, dict[str, Any]]:
        """float32 (1, Z, Y, X) and nnU-Net's properties."""
        return self._read(lambda files: self.reader.read_seg(files[0]), [seg_fname], several=True)

    def _read(
        self, read: Callable[[list[str]], tuple[np.ndarray, dict[str, Any]]], files: Sequence[str | Path], several: bool
    ) -> tuple[np.ndarray, dict[str, Any]]:
        names = ", ".join(map(str, files))
        with ExitStack() as stack:
            whole = [stack.enter_context(_readable(Path(file), self.reader, several)) for file in files]
            try:
                with said_meanwhile() as said:  # why it raises, with some
                    array, properties = read(whole)
            except Exception as error:  # whatever a reader raises, also one of the user's own
                why = reason(error) if str(error) else " ".join(said.getvalue().split())
                raise UserError(f"{names}: {self.name} cannot read it ({why})") from error
        print(said.getvalue(), end="")
        if not all(map(is_nifti, files)):  # that was checked
            check_finite(array, names)
        return array, properties

    def misread(self, path: Path, array: np.ndarray, properties: Mapping[str, Any]) -> tuple[str, ...]:
        """`header_notes` of an image if nnU-Net, which gives the reader the file itself, gets something else than `read_images`.

        Args:
            array, properties: What `read_images` returned for it.
        """
        if not (notes := header_notes(path)):
            return ()
        try:
            with said_meanwhile():
                its_array, its = self.reader.read_images([str(path)])
        except Exception:  # whatever a reader raises
            return notes
        same_size = np.allclose(properties["spacing"], its["spacing"])  # NibabelIO has it from another entry than the place
        places = (Grid.of_array(each.shape[1:], those) for each, those in ((array, properties), (its_array, its)))
        same = same_size and np.array_equal(array, its_array) and same_for_nnunet(*places) is None
        return () if same else notes

    def write_seg(self, seg: np.ndarray, output_fname: str | Path, properties: dict[str, Any]) -> None:
        """Write a label map (Z, Y, X) beside, read it back, and rename it.

        Raises:
            UserError: The disk is full, or the format does not hold the values.
        """
        path = Path(output_fname)
        with written_beside(path) as beside:
            try:
                self.reader.write_seg(seg, str(beside), properties)
                written = self.read_seg(beside)[0][0]
            except RuntimeError as error:  # SimpleITK's, also of a format that it does not know
                raise UserError(f"{path}: cannot be written whole; is the disk full? ({itk_reason(error)})") from error
            except (UserError, OSError) as error:
                raise UserError(f"{path}: cannot be written whole; is the disk full?") from error
            except Exception as error:  # whatever a writer raises
                raise UserError(f"{path}: {self.name} cannot write it ({reason(error)}); use another format") from error
            if written.shape != seg.shape:
                raise UserError(
                    f"{path}: {self.name} keeps {times(written.shape)} of {times(seg.shape)} voxels in {path.suffix}; use "
                    "another format"
                )
            if not all(map(np.array_equal, written, seg)):  # slice by slice, in little memory
                raise UserError(
                    f"{path}: {self.name} does not keep values up to {seg.max()} in {path.suffix}; use another format"
                )


def read_sitk(path: Path) -> sitk.Image:
    """A volume of any format that SimpleITK reads.

    Raises:
        UserError: As the methods of `CheckedReader`.
    """
    with _readable(path, SimpleITKIO(), several=True) as file:
        try:
            image = sitk.ReadImage(file)
        except RuntimeError as error:
            raise UserError(f"{path} cannot be read as an image ({itk_reason(error)}); is it damaged?") from error
    if not is_nifti(path):  # that was checked
        check_finite(sitk.GetArrayViewFromImage(image), path)
    return image


def write_sitk(image: sitk.Image, path: Path) -> None:
    """Write a volume and check that all of it is there.

    Raises:
        UserError: It is not.
    """
    try:
        sitk.WriteImage(image, str(path))
        if is_nifti(path):
            NiftiFile(path, several=True).check()
        else:
            check_whole(path)
    except (UserError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written whole; is the disk full?") from error


def header_notes(path: Path) -> tuple[str, ...]:
    """What the header of a NIfTI file says that nnU-Net's readers take otherwise than it is meant; () for other formats.

    Raises:
        UserError: The file cannot be read.
    """
    return NiftiFile(path, several=True).notes if is_nifti(path) else ()


def told_notes(files: Iterable[Path]) -> list[str]:
    """`header_notes` of many files as lines, files of the same note together; files that cannot be read are left out."""
    files_of: dict[str, list[str]] = {}
    for file in files:
        with contextlib.suppress(UserError):
            for note in header_notes(file):
                files_of.setdefault(note, []).append(str(file))
    return [f"{listed(those, 3)}: {note}" for note, those in files_of.items()]


@contextmanager
def _readable(path: Path, reader: BaseReaderWriter, several: bool) -> Iterator[str]:
    """The file if the reader reads it right and it is whole, else a copy for the time being; `several` as of `NiftiFile`."""
    if not is_nifti(path):
        if isinstance(reader, SimpleITKIO):
            if (header := check_whole(path)) is not None:
                check_text_header(path, header)
        else:
            check_file(path)
        yield str(path)
        return
    file = NiftiFile(path, several)
    file.mended_grid()  # raises for a grid that no reader takes
    is_packed = path.name.lower().endswith(".gz")
    if not file.notes and (not is_packed or path.stat().st_size * _DENSE < file.num_bytes or not isinstance(reader, _OF_VOLUMES)):
        file.check()
        yield str(path)
        return
    with scratch_folder("read") as folder:
        copy = folder / "volume.nii"
        try:
            file.unpack(copy)
        except OSError as error:
            raise UserError(f"{path}: cannot be unpacked in {folder} ({reason(error)}); set TMPDIR to another folder") from error
        yield str(copy)
