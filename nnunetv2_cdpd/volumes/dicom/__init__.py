"""DICOM series as volumes: which files of a folder are one, whether they are whole, and their values on an upright grid.

    header   what one file says of itself: its slices, or what it is instead
    folder   the series of a folder, and what is passed over
    series   a checked series: sorted by position, in HU, its geometry
    source_slices  from the upright grid of a series back to its slices
    derived_object, write_segmentation, write_structure_set, outlines  a label map as SEG or RTSTRUCT on those slices

Headers are read with pydicom, pixels with GDCM (in SimpleITK). SimpleITK's own reader of series is not used: it gives a
volume with a wrong geometry for missing slices (a larger spacing), a tilted gantry (no tilt), copies of slices, and a
multi-frame file whose frames are out of order; slices whose rescaled values are fractions lose them if the first has none.
"""

from nnunetv2_cdpd.volumes.dicom.folder import SeriesFiles, find_series
from nnunetv2_cdpd.volumes.dicom.header import is_dicom
from nnunetv2_cdpd.volumes.dicom.series import Series, read_series
from nnunetv2_cdpd.volumes.dicom.source_slices import SourceSlices

__all__ = ["Series", "SeriesFiles", "SourceSlices", "find_series", "is_dicom", "read_series"]
