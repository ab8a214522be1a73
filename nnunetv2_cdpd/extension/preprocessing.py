"""Preprocessing of the further dataset: nnU-Net's, with the model's spacing and intensities, and the extended model's values.

What was made is kept in nnUNet_preprocessed/DATASET/cdpd_extension_DIGEST, so that another extension of the same model by the
same dataset finds it; the dataset's own preprocessed data and folds are not touched.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.datasets.output import folder_of_nnunet
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError, listed, reason
from nnunetv2_cdpd.extension.joining import Joined
from nnunetv2_cdpd.host import FINGERPRINT_FILE
from nnunetv2_cdpd.jobs import FileRecord, digest, file_state, in_processes, output_folder, run, scratch_folder, write_json
from nnunetv2_cdpd.merge.cases import MergeJob, rewrite_case
from nnunetv2_cdpd.merge.collect import MergedCase
from nnunetv2_cdpd.training.sampling import stored_values
from nnunetv2_cdpd.volumes.reading import CheckedReader

_RECORD_FILE = "cdpd_extension.jsonl"
_COMMAND = "cdpd extend"


@dataclass(frozen=True)
class PreprocessedFolder:
    """path: In place of nnUNet_preprocessed/DATASET for a training. data: Its folder of cases."""

    path: Path
    data: Path


@dataclass(frozen=True)
class FurtherCase:
    """One case.

    output: Of the preprocessed case, without ending.
    """

    merge: MergeJob
    output: Path
    plans: Mapping[str, Any]
    configuration: str
    dataset_json: Mapping[str, Any]
    made_from: str

    @property
    def outputs(self) -> tuple[Path, ...]:
        return tuple(self.output.with_name(f"{self.output.name}{ending}") for ending in (".b2nd", "_seg.b2nd", ".pkl"))


def preprocess_case(job: FurtherCase) -> None:
    """Check a case, give its label map the values of the extended model, and preprocess it.

    Raises:
        UserError: What is wrong with the files.
    """
    plans = PlansManager(dict(job.plans))
    configuration = plans.get_configuration(job.configuration)
    with scratch_folder("extend") as scratch, redirect_stdout(sys.stderr):
        label = scratch / job.merge.output.name
        rewrite_case(replace(job.merge, output=label))
        images = [str(path) for path in job.merge.case.images]
        try:
            configuration.preprocessor_class(verbose=False).run_case_save(
                str(job.output), images, str(label), plans, configuration, dict(job.dataset_json)
            )
        except RuntimeError as error:  # blosc2's, which does not say why
            raise UserError(f"{job.output}: cannot be written whole; is the disk full? ({reason(error)})") from error


def preprocess(
    dataset: RawDataset,
    joined: Joined,
    plans: Mapping[str, Any],
    configuration: str,
    dataset_json: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    *,
    num_processes: int,
    progress: bool,
    report: Callable[[str], None],
) -> PreprocessedFolder:
    """Preprocess the cases that are not there yet.

    Args:
        plans: Of the extended model.
        dataset_json: Of the extended model.
        fingerprint: Of the model, which nnU-Net copies from here.

    Raises:
        UserError: nnUNet_preprocessed is not set, cases cannot be used (the others are kept), or a new class is in none of them.
    """
    root = folder_of_nnunet(nnUNet_preprocessed)
    if root is None:
        raise UserError("nnUNet_preprocessed is not set; `export nnUNet_preprocessed=/path/to/folder` and call again")
    manager = PlansManager(dict(plans))
    settings = {
        key: value for key, value in manager.get_configuration(configuration).configuration.items() if key != "architecture"
    }
    of_plans = [manager.plans[key] for key in ("transpose_forward", "foreground_intensity_properties_per_channel")]
    made_for = digest(
        settings, of_plans, sorted(joined.value_map.items()), dataset_json["labels"], sorted(joined.case_names.items())
    )
    folder = PreprocessedFolder(
        root / dataset.name / f"cdpd_extension_{made_for}", root / dataset.name / f"cdpd_extension_{made_for}" / "cases"
    )
    reader = CheckedReader(manager.image_reader_writer_class())
    jobs = {}
    for case in dataset.cases:
        images, label = tuple(map(dataset.path, case.images)), dataset.path(case.label)
        made_from = digest([[path.name, file_state(path)] for path in (*images, label)])
        name = joined.case_names[case.identifier]
        merged = MergedCase(name, "", 0, case.images, images, label)
        merge = MergeJob(
            merged,
            label,
            replace(dataset.annotation, case_source=None),
            joined.value_map,
            reader,
            len(settings["normalization_schemes"]),
            made_from,
        )
        jobs[case.identifier] = FurtherCase(merge, folder.data / name, plans, configuration, dataset_json, made_from)
    with output_folder(folder.path):
        folder.data.mkdir(exist_ok=True)
        record = FileRecord(folder.path / _RECORD_FILE, [dataset.name], _COMMAND)
        record.rewrite(name for name in record.cases if name in jobs and record.holds(name, jobs[name]))
        outcome = run(jobs, in_processes(preprocess_case, num_processes), title="Preprocessing", record=record, progress=progress)
        if outcome.failed:
            told = [f"case {case!r}: {why}" for case, why in outcome.failed.items()]
            raise UserError(f"{dataset.name}: {listed(told, 3)}; the other cases are done, mend these and call again")
        write_json(folder.path / FINGERPRINT_FILE, dict(fingerprint))
        _check_present(dataset, joined, folder)
    report(f"preprocessed: {len(jobs)} cases in {folder.data}, {len(outcome.before)} of them before")
    return folder


def _check_present(dataset: RawDataset, joined: Joined, folder: PreprocessedFolder) -> None:
    """Raise UserError for a new class without a voxel in any case: the model would learn that it is nowhere."""
    annotation = joined.annotation
    missing = {name: frozenset(annotation.regions[annotation.classes.index(name)]) for name in joined.new_classes}
    cases = nnUNetDatasetBlosc2(str(folder.data), list(joined.case_names.values()))
    for name in joined.case_names.values():
        *_, properties = cases.load_case(name)
        there = {stored_values(key) for key, voxels in properties["class_locations"].items() if len(voxels)}
        missing = {name: region for name, region in missing.items() if region not in there}
        if not missing:
            return
    raise UserError(
        f"{dataset.name}: no voxel of {listed(list(missing))} in any case at the model's spacing, nothing to learn from; take it "
        f"out of `labels` of {dataset.dataset_json.path}, or mend the label maps"
    )
