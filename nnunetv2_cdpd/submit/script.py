"""The script of a job, as bash reads it, written through submitit: what sbatch is asked for, the environment, the work.

Only this text is submitted. submitit's own way is a pickled function in a file that the job loads, and whoever can write that
file runs code as the user; a command needs no such thing, and a script can be read, changed and submitted by hand.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.submit.environment import carried, program_of
from nnunetv2_cdpd.submit.steps import Submission

SCRIPT, LOG, CODE = ".sh", ".log", ".code"  # endings of a job's files: its script, its output, how it ended
_NOTICE_SECONDS = 60  # before the time is up: Slurm looks that often
_PORTS = (20000, 20000)  # where the processes of a training meet: the first, and how many

# How a job that Slurm stops for time is started again; Slurm itself does it after preemption and where a node fails.
_WORK = """
printf 'cdpd submit: %s, job %s on %s, start %s: %s\\n' "$(date '+%F %T')" "${{SLURM_JOB_ID:-here}}" "$(hostname)" \\
    "$((${{SLURM_RESTART_COUNT:-0}} + 1))" "${{work[*]}}"
again() {{
    interrupted=1
    if [ "${{SLURM_RESTART_COUNT:-0}}" -ge {requeues} ]; then
        echo 'cdpd submit: the time is nearly up, and the job is not started again: it was {requeues} times (--requeues)'
    else
        echo 'cdpd submit: the time is nearly up; the job is started again and goes on'
        scontrol requeue "${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}"
    fi
}}
trap again USR2
"${{work[@]}}" &
interrupted=1
while [ -n "$interrupted" ]; do
    interrupted=
    wait $!
    code=$?
done
echo "$code" > "$files{code}"
exit "$code"
"""


def script_of(job: Submission, folder: Path) -> str:
    """The text of a job's script.

    Args:
        folder: For its files, absolute; on a cluster one that all machines see.

    Raises:
        UserError: submitit is not installed, the environment or the folder's name holds what no script can, or bash cannot read
            the lines of setup.
    """
    if job.resources.setup:
        _check_setup(job.resources.setup)
    if not str(folder).isprintable():
        raise UserError(f"{str(folder)!r}: no line for sbatch can hold a line break or the like; use another folder")
    executor = _executor(folder)
    resources, is_array = job.resources, len(job.calls) > 1
    files = f"{folder}/{job.name}".replace("%", "%%")
    executor.update_parameters(
        job_name=f"cdpd-{job.name}",
        partition=resources.partition,
        account=resources.account,
        qos=resources.qos,
        constraint=resources.constraint,
        time=resources.time,
        mem=resources.mem,
        cpus_per_task=resources.cpus,
        gpus_per_node=resources.gpus if resources.num_gpus else None,
        nodes=resources.nodes,
        ntasks_per_node=1,
        array_parallelism=resources.array_parallelism or len(job.calls),
        wckey=None,  # submitit's own, which a cluster that checks it refuses
        stderr_to_stdout=True,
        setup=[*_environment(job), *resources.setup],
        use_srun=False,
        additional_parameters={
            "output": f"{files}{'_%a' if is_array else ''}{LOG}",
            "signal": f"B:USR2@{_NOTICE_SECONDS}",
            "requeue": True,
            **resources.sbatch,
        },
    )
    return executor.text(_work(job, folder), len(job.calls) if is_array else None)


def _check_setup(lines: Sequence[str]) -> None:
    """A quote or a block that does not end would stop the job, hours later."""
    read = subprocess.run(["bash", "-n"], input="\n".join(lines), capture_output=True, text=True)
    if read.stderr:  # of a warning too: a here-document that does not end takes the work into it
        told = re.sub(r"^bash: (line \d+: )?", "", read.stderr.splitlines()[0])
        raise UserError(f"argument setup: bash cannot read {listed(list(map(repr, lines)))}: {told}")


def _executor(folder: Path) -> Any:
    try:
        from submitit import SlurmExecutor
    except ImportError as error:
        raise UserError(
            "jobs are described by submitit, which is not installed; run: pip install 'nnunetv2-cdpd[slurm]'"
        ) from error

    class Scripts(SlurmExecutor):
        """submitit's way to describe a job to sbatch, for a command in place of a pickled function."""

        @classmethod
        def affinity(cls) -> int:
            return 2  # a script can be shown and run where no Slurm is

        def text(self, command: str, map_count: int | None) -> str:
            if map_count is not None:
                self.parameters["map_count"] = map_count
            return self._make_submission_file_text(command, "").rstrip("\n") + "\n"

    return Scripts(folder)


def _environment(job: Submission) -> list[str]:
    """The lines that set what the job takes along."""
    folder = shlex.quote(os.path.dirname(sys.executable))
    return [f"export {name}={shlex.quote(value)}" for name, value in carried(job).items()] + [f'export PATH={folder}:"$PATH"']


def _work(job: Submission, folder: Path) -> str:
    files = shlex.quote(f"{folder}/{job.name}")
    lines = [f'files={files}${{SLURM_ARRAY_TASK_ID:+"_$SLURM_ARRAY_TASK_ID"}}', f'rm -f "$files{CODE}"']
    lines += [f'cd {shlex.quote(os.getcwd())} || {{ echo 1 > "$files{CODE}"; exit 1; }}']
    lines += _launcher(job)
    if len(job.calls) == 1:
        lines.append(f"work+=({_words(job.calls[0])})")
    else:
        cases = [f"{number}) work+=({_words(call)}) ;;" for number, call in enumerate(job.calls)]
        lines += ['case "$SLURM_ARRAY_TASK_ID" in', *cases, "esac"]
    if job.resume:
        lines.append(f'if [ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ]; then work+=({_words(job.resume)}); fi')
    return "\n".join(lines) + _WORK.format(requeues=job.resources.requeues, code=CODE)


def _launcher(job: Submission) -> list[str]:
    """The lines that begin the array `work`: the program, started by torchrun where several processes train together."""
    program, nodes = program_of(job.command), job.resources.nodes
    if not job.processes:
        return [f"work=({_words(program)})"]
    python, *module = program
    torchrun = f"{_words([python])} -m torch.distributed.run --nproc-per-node={job.processes}"
    if nodes == 1:
        return [f"work=({torchrun} --standalone {_words(module)})"]
    first, number = _PORTS
    cpus = f" --cpus-per-task={job.resources.cpus}" if job.resources.cpus else ""  # srun does not take it from sbatch
    return [
        f'meet="$(hostname):$(({first} + SLURM_JOB_ID % {number}))"',
        f"work=(srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1{cpus} --kill-on-bad-exit=1",
        f'    {torchrun} --nnodes={nodes} --rdzv-backend=c10d --rdzv-endpoint="$meet"',
        f'    --rdzv-id="$SLURM_JOB_ID.${{SLURM_RESTART_COUNT:-0}}" {_words(module)})',
    ]


def _words(words: Sequence[str]) -> str:
    return " ".join(map(shlex.quote, words))
