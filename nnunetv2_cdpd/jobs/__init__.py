"""Long work on many cases: in several processes, resumable after a kill, without half-written files.

- batch: `run`: what is done is not done again, no case stops the others, an `Outcome` at the end
- processes: one function over many jobs, in processes
- record: which cases are done and what they were made from
- files: `written_beside`: files that are never there by half
- folder: `output_folder`: one job at a time for a folder
- sealed: JSON that tells whether it is as it was written
- scratch: `scratch_folder`: files that nobody keeps
- yaml_files: YAML read safely
- tables: rows as lines and as CSV
"""

from nnunetv2_cdpd.jobs.batch import Outcome, Runner, run
from nnunetv2_cdpd.jobs.files import read_json, remove, remove_leftovers, write_json, write_text, written_beside
from nnunetv2_cdpd.jobs.folder import output_folder
from nnunetv2_cdpd.jobs.processes import in_processes, number_of_processes
from nnunetv2_cdpd.jobs.record import CaseRecord, FileRecord, digest, file_state
from nnunetv2_cdpd.jobs.scratch import remove_scratch, scratch_folder
from nnunetv2_cdpd.jobs.sealed import read_sealed, write_sealed

__all__ = [
    "CaseRecord",
    "FileRecord",
    "Outcome",
    "Runner",
    "digest",
    "file_state",
    "in_processes",
    "number_of_processes",
    "output_folder",
    "read_json",
    "read_sealed",
    "remove",
    "remove_leftovers",
    "remove_scratch",
    "run",
    "scratch_folder",
    "write_json",
    "write_sealed",
    "write_text",
    "written_beside",
]
