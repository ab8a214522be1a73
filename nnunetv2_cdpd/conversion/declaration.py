"""SourceDataset: all that is known of a collection of cases, as data; one instance per file of dataset_conversion/."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.conversion.download import Download
from nnunetv2_cdpd.conversion.roi_names import RoiNames
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.licenses import Terms, bound_by, read_terms

CC_BY_3 = "CC BY 3.0"
CC_BY_4 = "CC BY 4.0"
CC_BY_SA_4 = "CC BY-SA 4.0"
CC_BY_NC_SA_4 = "CC BY-NC-SA 4.0"


@dataclass(frozen=True)
class Erratum:
    """Something known to be wrong with some cases.

    cases: As in {case} of the templates, without the dataset's prefix.
    skip: Leave the cases out; otherwise they are converted and the reason is told.
    source: Who says so: a link, or a name that finds it.
    """

    cases: tuple[str, ...]
    reason: str
    skip: bool = False
    source: str = ""


@dataclass(frozen=True)
class IntensityCheck:
    """Most labelled voxels of a right conversion lie in this window; used where no header says where the label lies.

    window: (low, high) in HU.
    least_share: Of the labelled voxels, 0 ... 1.
    flips: Array axes (x, y, z) of the label to flip, tried in this order; the empty one leaves it as it is.
    """

    window: tuple[float, float]
    least_share: float
    flips: tuple[tuple[int, ...], ...] = ((),)


@dataclass(frozen=True)
class FoundCase:
    """One case of a downloaded collection.

    case: As in {case} of the templates.
    image: One file, or the files of a DICOM series.
    label: One file, or the slices of a label (in the order of their names).
    masks: Instead of `label`: source value -> binary file of that structure.
    source: Name of the source, where the dataset holds several.
    labelled_slices: (first, end) along the third axis of the label file: outside of it background means nothing.
    note: For the user.
    """

    case: str
    image: tuple[Path, ...]
    label: tuple[Path, ...] = ()
    masks: Mapping[str | int, Path] = field(default_factory=dict)
    source: str | None = None
    labelled_slices: tuple[int, int] | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class SourceDataset:
    """A collection of cases that were annotated by one protocol (or by few, see `sources`).

    name: Short, of letters and digits: names the dataset, its source, and the prefix of its case identifiers.
    license: In words, as `cdpd sources` tells it.
    license_names: Where `license` is more than a name of the table of licenses: the names that bind, all of them; of several
        that sources differ in too, since it is not known which.
    layout: What the downloaded folder has to look like, as a drawing for the user.
    images, labels: Templates of file names below the folder: {case} stands for the case, * for anything within a name,
        ** for any folders; matched from the end of the path. Alternatives in order of preference.
    case: Regular expression of {case}.
    dicom: `images` are folders, every file below one belongs to its series; templates that end in .nii or .nii.gz are files.
    slices: `labels` are folders of image slices, named in the order of the DICOM slices; .nii and .nii.gz are files here too.
    masks: `labels` hold {structure} too: binary files, `values` is keyed by their names; one structure may have several.
    rois: `labels` are folders, or files that end in .dcm, of structure sets and segmentations, of which those of the image's
        series are taken, also where no {case} tells whose they are; `values` is keyed by regular expressions of whole names. A
        case annotates the structures that it holds and those of `annotates`.
    join_rois: Several names of one structure in a case are taken together; otherwise they are an error.
    fill_gaps: Slices without a contour that are filled between two that have one; None: none are, and a structure with contours
        nowhere on neighbouring slices is not taken.
    mask_files: Templates of such files for cases without a label file; `values` is keyed by label values and by their names.
    foreign: Templates of files that another collection puts beside; they are left alone.
    values: Source value, or name of a mask -> structure; None: becomes background.
    ignore_values: Source values that mean "not annotated here"; they become the ignore label.
    hu_offset: Added to the stored values of the images (not of DICOM series), whose header does not say that they are no HU.
    nested: Structure -> the structure that its voxels belong to as well.
    unions: Structure made of others, beside them (right_lung of its lobes).
    merged_labels: Structure -> the structures that it may be, not known which (kidney -> right and left).
    annotates: Structures labelled wherever they occur; None: all of `values` and `unions`.
    sources: Where not all cases are annotated alike: source -> what it annotates.
    sources_by_content: No table tells the source of a case: it is the one with the fewest structures that annotates all that
        the label holds. A case whose label holds nothing is left out.
    unlabelled_images: Images without a label are expected (a test set beside the training set).
    imageless_labels: Labels without an image are expected (images that have to be fetched elsewhere).
    ignores: Some cases are labelled in a part of their slices only.
    placement: None: the header of the label says where it lies.
    find: Lists the cases where templates do not suffice.
    definitions: Structure -> how this collection draws it, where others differ.
    overlaps: Other collections that hold the same patients.
    unchecked: What of all this could not be checked, for the user.
    """

    name: str
    title: str
    region: str
    license: str
    link: str
    reference: str
    size: str
    num_cases: int | None
    layout: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    values: Mapping[Any, str | None]
    license_names: tuple[str, ...] = ()
    case: str = r"[^/]+?"
    dicom: bool = False
    slices: bool = False
    masks: bool = False
    rois: bool = False
    join_rois: bool = False
    fill_gaps: int | None = None
    mask_files: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    ignore_values: tuple[int, ...] = ()
    hu_offset: float = 0
    nested: Mapping[str, str] = field(default_factory=dict)
    unions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    merged_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    annotates: tuple[str, ...] | None = None
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources_by_content: bool = False
    errata: tuple[Erratum, ...] = ()
    unlabelled_images: bool = False
    imageless_labels: bool = False
    ignores: bool = False
    placement: IntensityCheck | None = None
    find: Callable[["Download[SourceDataset]"], list[FoundCase]] | None = None
    definitions: Mapping[str, str] = field(default_factory=dict)
    overlaps: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    prefixed: bool = True  # whether case identifiers begin with the name
    where: str = ""  # the file that declares it, for messages

    def __post_init__(self) -> None:
        """Raise UserError where the facts contradict each other."""
        structures = set(self.structures)
        if not structures:
            raise self._error("`values` names no structure; give at least one")
        named = structures.union(self.unions, self.merged_labels, *self.merged_labels.values())
        if kept := sorted(named & {"background", "ignore"}):
            raise self._error(
                f"{kept[0]} is no structure but nnU-Net's own word; `VALUE: background` under `values` drops a value, "
                "`ignore_values: [VALUE]` leaves its voxels out of the training"
            )
        for key, names in (
            ("nested", [*self.nested, *self.nested.values()]),
            ("unions", [name for members in self.unions.values() for name in members]),
            ("merged_labels", self.merged_labels),
            ("annotates", self.annotates or ()),
            ("sources", [name for annotated in self.sources.values() for name in annotated]),
        ):
            known = structures | set(self.unions) if key in ("annotates", "sources") else structures
            if unknown := sorted(set(names) - known):
                raise self._error(f"`{key}` names {', '.join(unknown)}, `values` gives {', '.join(self.structures)}")
        if self.slices and not self.dicom:
            raise self._error("`slices` are matched with the files of a DICOM series; add `dicom: true`, or give NIfTI labels")
        if self.masks and self.mask_files:
            raise self._error("`masks` says that `labels` are mask files already; give `mask_files` beside label files only")
        if self.rois:
            self._check_rois()
        elif self.join_rois or self.fill_gaps is not None:
            raise self._error("`join_rois` and `fill_gaps` are said of structure sets; add `rois: true`")
        if both := sorted(value for value in self.ignore_values if value == 0 or value in self.values):
            raise self._error(
                f"`ignore_values`: {both[0]} is {self.values.get(both[0]) or 'background'}; keep it in one of the two"
            )
        if self.sources_by_content and not self.sources:
            raise self._error("`sources_by_content` needs `sources`: what each source annotates")
        if empty := [name for name, members in self.unions.items() if not members]:
            raise self._error(f"`unions`: {empty[0]} is made of no structure; name at least one")
        for name, meant in self.merged_labels.items():
            if len(set(meant)) < 2:
                raise self._error(f"`merged_labels`: {name} needs at least two structures that it may be")
            if taken := sorted(set(meant) & structures):
                raise self._error(f"`merged_labels`: {', '.join(taken)} stands in `values` too; keep it in one of the two")
        for line in map(self.line, self.nested):
            if len(set(line)) < len(line):
                raise self._error(f"`nested`: {line[-1]} lies in itself")

    def _check_rois(self) -> None:
        contrary = ("slices", "masks", "mask_files", "ignore_values", "sources", "sources_by_content", "ignores", "placement")
        if given := [key for key in contrary if getattr(self, key)]:
            raise self._error(f"`{given[0]}` says something else of labels than `rois`; keep one of the two")
        if not self.dicom:
            raise self._error("`rois` lie on the slices of a DICOM series; add `dicom: true`, or give NIfTI labels")
        if self.fill_gaps is not None and self.fill_gaps < 0:
            raise self._error(f"`fill_gaps`: {self.fill_gaps} slices; give 0 or more")
        try:
            RoiNames({str(pattern): structure for pattern, structure in self.values.items()})
        except ValueError as error:
            raise self._error(f"`values`: {error}") from error

    def _error(self, problem: str) -> UserError:
        return UserError(f"{self.where or self.name}: {problem}")

    @property
    def structures(self) -> tuple[str, ...]:
        """Every structure that has values of its own, in the order of `values`."""
        return tuple(dict.fromkeys(name for name in self.values.values() if name is not None))

    @property
    def annotated_by_source(self) -> dict[str, tuple[str, ...]]:
        """Source -> structures; a dataset that is one source is named like it."""
        everything = (*self.structures, *self.unions)
        return dict(self.sources) or {self.name: everything if self.annotates is None else self.annotates}

    @property
    def terms(self) -> Terms:
        """What its license allows."""
        return bound_by(map(read_terms, self.license_names or (self.license,)), self.license)

    def known_errors(self, skip: bool) -> dict[str, str]:
        """Case -> what is wrong with it, of those that are left out, or of those that are converted all the same."""
        return {case: erratum.reason for erratum in self.errata if erratum.skip == skip for case in erratum.cases}

    def line(self, name: str) -> list[str]:
        """A structure, then the one that it lies in, and so on up to the outermost, or to one that is there already."""
        line = [name]
        while line[-1] in self.nested and line[-1] not in line[:-1]:
            line.append(self.nested[line[-1]])
        return line

    def identifier(self, case: str) -> str:
        """Case identifier in the converted dataset: collections number their cases alike, so the name comes first."""
        return f"{self.name}_{case}" if self.prefixed else case
