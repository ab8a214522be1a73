"""Place on patients that were not learned from: do organs lie where they can, and how much of the body is impossible for each.

    python benchmarks/place.py DATA
    python benchmarks/evidence write     # the tables

measures, and writes benchmarks/results/place/*.json. DATA: images/, labels/ and annotated.json of OpenKBP (github
ababier/open-kbp, MIT). Two arms: `halves` learns from every second patient and is asked of the others; `three_sources` learns
from the sources of openkbp.py, which share no organ, and is asked of its test patients. Each organ is asked for by the image
alone, and with the patient's other organs known.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from openkbp import SOURCES, VALUES, split_patients

from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.body import body_slices
from nnunetv2_cdpd.place.ends import class_ends
from nnunetv2_cdpd.place.model import PlaceModel, learn_place
from nnunetv2_cdpd.place.predicted import ImagePlace
from nnunetv2_cdpd.volumes.grid import Grid

RESULTS = Path(__file__).parent / "results" / "place"
WAYS = ("image", "organs")  # alone, with the patient's other organs known
AIR = -300  # HU; what is denser counts as body


class Patient:
    """A patient's image and label map, read once, and what they teach."""

    def __init__(self, data: Path, name: str, organs: list[str]) -> None:
        image, labels = (sitk.ReadImage(str(data / part / f"{name}.nii.gz")) for part in ("images", "labels"))
        self.organs, self.label_map = organs, sitk.GetArrayFromImage(labels)
        array, axes = sitk.GetArrayFromImage(image), BodyAxes.of(Grid.of_image(image))
        if axes is None:
            raise SystemExit(f"{name}: its axes are not those of the body")
        self.axes, self.body = axes, array > AIR
        self.slices = body_slices(axes.turned(array), axes.spacing)

    def ends(self, organs: tuple[str, ...]) -> np.ndarray:
        regions = [(value,) if organ in self.organs and organ in organs else () for organ, value in VALUES.items()]
        return class_ends(self.axes.turned(self.label_map), regions, self.axes.spacing)

    def asked(self, model: PlaceModel, way: str) -> dict[str, dict[str, int]]:
        """Organ -> its voxels, those of them outside of where it can lie, the body's voxels, and those where it can lie."""
        place = ImagePlace(model, self.axes, model.image_says(self.slices))
        known = dict(zip(VALUES, self.ends(tuple(VALUES))))
        unknown = np.full((3, 2), np.nan)
        found = {}
        for organ in self.organs:
            box = place.possible(known if way == "organs" else {organ: unknown})[organ]
            is_organ = self.label_map == VALUES[organ]
            counts = is_organ.sum(), is_organ.sum() - is_organ[box].sum(), self.body.sum(), self.body[box].sum()
            found[organ] = dict(zip(("voxels", "outside", "body", "possible"), map(int, counts)))
        return found


def learned(patients: list[Patient], organs: list[tuple[str, ...]]) -> PlaceModel:
    """From patients of whom these organs are annotated."""
    ends = np.stack([patient.ends(its) for patient, its in zip(patients, organs)])
    present = np.array([[o in p.organs and o in its for o in VALUES] for p, its in zip(patients, organs)])
    return learn_place(tuple(VALUES), [patient.slices for patient in patients], ends, present)[0]


def measure(data: Path) -> None:
    annotated = json.loads((data / "annotated.json").read_text())
    patients = {name: Patient(data, name, annotated[name]) for name in sorted(annotated)}
    of_source, tested = split_patients(annotated)
    visible = {name: organs for source, organs in SOURCES.items() for name in of_source[source]}
    names = list(patients)
    arms = {
        "halves": (learned([patients[name] for name in names[::2]], [tuple(VALUES)] * len(names[::2])), names[1::2]),
        "three_sources": (learned([patients[name] for name in visible], list(visible.values())), tested),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    for arm, (model, asked) in arms.items():
        found = {way: {name: patients[name].asked(model, way) for name in asked} for way in WAYS}
        (RESULTS / f"{arm}.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    measure(parser.parse_args().data)


if __name__ == "__main__":
    main()
