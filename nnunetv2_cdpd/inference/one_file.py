"""One image to one label map, with nothing beside it."""

from dataclasses import replace
from pathlib import Path

from nnunetv2_cdpd.datasets.output import check_may_write
from nnunetv2_cdpd.datasets.volume_files import VOLUME_ENDINGS
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.dicom_files import DicomFiles
from nnunetv2_cdpd.inference.formats import DICOM_ENDINGS, NIFTI, check_are_dicom, ending_of
from nnunetv2_cdpd.inference.inputs import Case, Tell, as_case, modality_of, opened, source_of
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.jobs import Outcome, in_processes, run


def is_label_map(path: Path, file_ending: str) -> bool:
    """Whether an output is the file of one label map, by its name, of whatever format; a folder that is there stays one.

    Args:
        file_ending: Of the model's dataset.json.
    """
    return path.name.lower().endswith((file_ending.lower(), *VOLUME_ENDINGS, ".dcm")) and not path.is_dir()


def predict_file(predictor: Predictor, image: Path, output: Path, *, tell: Tell, output_format: str = NIFTI) -> Outcome[None]:
    """Predict what `Predictor.select` was told, of one image, into one file that is not there yet.

    Args:
        image: A file, of several channels any one of them; or a folder that holds one image or one DICOM series.
        output: In a format that the model's writer writes, or of DICOM.
        tell: Hears what is particular about a DICOM series.
        output_format: One of `formats.FORMATS`.

    Returns:
        Of one case, which may have failed: the image cannot be read or does not suit the model.

    Raises:
        UserError: There is not exactly one image, the model is a cascade, or the output cannot be written or is there already.
    """
    endings = predictor.writer.supported_file_endings
    if ending_of(output, output_format, endings) is None:
        if output_format in DICOM_ENDINGS:
            raise UserError(f"{output}: format {output_format} is a .dcm file; give such a name, or a folder")
        dicom = f", {', '.join(DICOM_ENDINGS)} (.dcm) by argument formats" if output.suffix.lower() == ".dcm" else ""
        raise UserError(f"{output}: this model writes {', '.join(endings)}{dicom}; give such a file, or a folder")
    if output.exists():
        raise UserError(f"{output}: is there already and left as it is; remove it, or give another name")
    check_may_write([output], made_here=False, way_out="give another place")
    if not output.absolute().parent.is_dir():
        raise UserError(f"{output}: there is no folder {output.absolute().parent}; make it, or give another place")
    if (lower_stage := predictor.configuration_manager.previous_stage_name) is not None:
        raise UserError(f"{output}: this model is a cascade, which needs the predictions of {lower_stage}; predict into folders")
    case = as_case(image, predictor.file_ending, predictor.num_channels, modality_of(predictor.dataset_json), tell)
    check_are_dicom([output_format], [case])

    def work(case: Case) -> None:
        source = source_of(case) if output_format in DICOM_ENDINGS else None
        with opened(case, predictor.writer, tell) as files:
            preprocessed = predictor.preprocess_files(files)
        for note in predictor.notes_of(preprocessed):
            tell(f"note: {case.files[0]}: {note}")
        prediction = replace(predictor.export(predictor.label(preprocessed)), source=source)
        if source is None:
            prediction.write_label_map(output, predictor.writer)
        else:
            DicomFiles(predictor, tell).write(output, output_format, prediction)

    return run({case.identifier: case}, in_processes(work, num_processes=1), title="cases", progress=False)
