"""Long work on many cases: in several processes, resumable after a kill, without half-written files.

processes    one function over many jobs; no job stops the others
record       which cases are done and what they were made from
files        JSON files that are never there by half
"""

from nnunetv2_cdpd.jobs.files import read_json, write_json
from nnunetv2_cdpd.jobs.processes import run_jobs
from nnunetv2_cdpd.jobs.record import CaseRecord, Record, digest, file_state

__all__ = ["CaseRecord", "Record", "digest", "file_state", "read_json", "run_jobs", "write_json"]
