"""cdpd submit: commands as jobs of a Slurm cluster, one step after the other."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.cli.commands import COMMANDS, parser_of
from nnunetv2_cdpd.errors import UserError, listed

DESCRIPTION = """
Submit commands of cdpd or nnU-Net as jobs of a Slurm cluster. The command stands behind --, as it is typed else; --then begins a
further step, which runs when the one before has done its work. Options hold for the steps that follow, until they are given anew.

`train` becomes one job for each FOLD that it is given, over several GPUs and --nodes by torchrun; `convert` and `predict` share
their cases among --jobs jobs. A job that is preempted, or stopped because its time is up, is started again and goes on.

What is submitted is a script for each step, which --dry-run prints, with nnU-Net's folders, CDPD_* and this Python in it.
"""
EXAMPLES = (
    "cdpd submit --partition gpu --gpus 1 --time 1-0 -- train 400 3d_fullres 0 1 2 3 4",
    """cdpd submit --cpus 16 --mem 64G --time 4:0:0 -- nnUNetv2_plan_and_preprocess -d 400 -pl nnUNetPlannerCDPD -c 3d_fullres \\
    --then --partition gpu --gpus 1 --cpus 12 --time 1-0 -- train 400 3d_fullres 0 1 2 3 4 \\
    --then --jobs 4 --time 2:0:0 -- predict -i imagesTs -o predictions -d 400 \\
    --then --partition cpu --gpus 0 -- evaluate predictions labelsTs""",
    "cdpd submit --dry-run --jobs 20 --array-parallelism 8 -- convert TotalSegmentator ~/totalsegmentator -d 305",
    "cdpd submit --status cdpd_submit                          # what has become of the jobs, and why one was not run",
)
_THEN = "--then"
_OF_ALL = {"logs": "--logs", "cluster": "--cluster", "dry_run": "--dry-run", "status": "--status", "after": "--after"}
_OF_ONE = ("command", "jobs", "nodes")  # what a step does not take over from the one before it
_UNFIT = ("submit", "completion", "link")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd submit [options] -- COMMAND ARGUMENTS ... [--then [options] -- COMMAND ARGUMENTS ...] ..."
    ask = parser.add_argument_group("what a job asks of the cluster (default: what the cluster gives)")
    ask.add_argument("--partition", metavar="NAME", help="part of the cluster")
    ask.add_argument("--account", metavar="NAME", help="whose share of the cluster it is")
    ask.add_argument("--qos", metavar="NAME", help="quality of service")
    ask.add_argument("--constraint", metavar="FEATURES", help="of nodes, as sbatch takes them")
    ask.add_argument("--time", metavar="TIME", help="as sbatch takes it: minutes, H:M:S, D-H")
    ask.add_argument("--mem", metavar="SIZE", help="main memory, as 64G")
    ask.add_argument("--cpus", type=int, metavar="N", help="cores, and the most processes that nnU-Net starts")
    ask.add_argument("--gpus", metavar="N", help="GPUs on each node: a number, or a kind and a number (a100:2); 0: none")
    ask.add_argument("--nodes", type=int, default=1, metavar="N", help="on which this step's training runs")
    ask.add_argument("--setup", action="append", default=[], metavar="LINE", help="run before the work, as 'module load cuda'")
    ask.add_argument(
        "--sbatch", action="append", default=[], metavar="KEY=VALUE", help="another option of sbatch, as mail-type=END"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--jobs", type=int, default=1, metavar="N", help="share the cases of this step among N jobs")
    how.add_argument("--array-parallelism", type=int, metavar="N", help="at most so many jobs of a step at a time")
    how.add_argument(
        "--requeues", type=int, default=50, metavar="N", help="start a job again at most so often (default: %(default)s)"
    )
    all_steps = parser.add_argument_group("of all steps")
    all_steps.add_argument("--after", nargs="+", default=[], metavar="JOBID", help="begin when these jobs have done their work")
    all_steps.add_argument(
        "--logs", type=Path, metavar="FOLDER", help="new folder for scripts and logs (default: cdpd_submit, or with a number)"
    )
    all_steps.add_argument(
        "--cluster", choices=("slurm", "local"), default="slurm", help="local: run the same here, in order (default: %(default)s)"
    )
    all_steps.add_argument("--dry-run", action="store_true", help="print the scripts, and submit nothing")
    all_steps.add_argument(
        "--status", type=Path, metavar="FOLDER", help="only tell what has become of the jobs of a --logs folder"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="with its arguments; further ones: --then"
    )


def run(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.submit.record import State, read_record, states
    from nnunetv2_cdpd.submit.slurm import queued_jobs

    if args.status is not None:
        submitted = read_record(args.status)
        queue = queued_jobs() if any(job.id for job in submitted) else {}
        told = states(args.status.resolve(), submitted, queue)
        for one in told:
            print(one)
        return 1 if any(one.state in (State.FAILED, State.STOPPED, State.NOT_RUN) for one in told) else 0
    return _submit(args)


def _submit(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.jobs import remove, write_text
    from nnunetv2_cdpd.link import ensure_linked
    from nnunetv2_cdpd.submit.environment import check_environment
    from nnunetv2_cdpd.submit.here import check_one_machine, run_jobs
    from nnunetv2_cdpd.submit.record import JOBS_FILE, State
    from nnunetv2_cdpd.submit.script import SCRIPT, script_of
    from nnunetv2_cdpd.submit.slurm import dependency, submit_jobs
    from nnunetv2_cdpd.submit.steps import jobs_of

    jobs = jobs_of([_step(one) for one in _segments(args)])
    check_environment(jobs)
    if args.cluster == "local":
        check_one_machine(jobs)
    folder = _new_folder(args.logs)
    scripts = {job.name: script_of(job, folder) for job in jobs}
    if args.cluster == "local" and args.after:
        raise UserError("--after: names jobs of Slurm, and --cluster local runs here; leave it out")
    if bad := [number for number in args.after if not (number.isascii() and number.replace("_", "").isdigit())]:
        raise UserError(f"--after {bad[0]}: give numbers of jobs, as sbatch and squeue say them")
    if args.dry_run:
        after = list(args.after)
        for name, text in scripts.items():
            options = " ".join(dependency(after))
            print(f"# sbatch {options}{' ' if options else ''}{folder / name}{SCRIPT}\n{text}")
            after = [f"<job of {name}>"]
        return 0
    if any(job.command.startswith("nnUNetv2_") for job in jobs):
        ensure_linked()
    folder.mkdir(parents=True, exist_ok=args.logs is not None)
    for name, text in scripts.items():
        write_text(folder / f"{name}{SCRIPT}", text)
    if args.cluster == "slurm":
        try:
            submit_jobs(jobs, folder, args.after, print)
        except UserError:
            if not (folder / JOBS_FILE).exists():  # nothing was submitted
                remove(folder)
            raise
        print(f"scripts and logs: {folder}")
        print(f"what has become of them: cdpd submit --status {shlex.quote(str(folder))}   (or squeue --me)")
        return 0
    told = run_jobs(jobs, folder, print)
    for one in told:
        print(one)
    return 0 if all(one.state is State.DONE for one in told) else 1


def _segments(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The options and the command of each step; what a step does not say is as in the one before."""
    parts: list[list[str]] = [[]]
    for word in args.command:
        if word == _THEN:
            parts.append([])
        else:
            parts[-1].append(word)
    args.command = parts[0]
    found = [args]
    for part in parts[1:]:
        kept = {name: value for name, value in vars(found[-1]).items() if name not in _OF_ONE}
        found.append(parser_of("submit").parse_args(part, argparse.Namespace(**kept)))
        for name, flag in _OF_ALL.items():
            if getattr(found[-1], name) != getattr(args, name):
                raise UserError(f"{flag}: holds for all steps; give it before the first command")
    return found


def _step(args: argparse.Namespace) -> Any:
    """A step of the library from its options."""
    from nnunetv2_cdpd.cli.options import given
    from nnunetv2_cdpd.submit.steps import Resources, Step

    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise UserError("no command: give one behind `--`, as in `cdpd submit --gpus 1 -- train 400 3d_fullres 0 1 2 3 4`")
    command, arguments = words[0], tuple(words[1:])
    _check_command(command, arguments)
    pairs = [text.partition("=") for text in args.sbatch]
    if bad := [text for text, (key, _, value) in zip(args.sbatch, pairs) if not (key.strip("-") and value)]:
        raise UserError(f"--sbatch {bad[0]}: give KEY=VALUE, as mail-type=END")
    names = ("partition", "account", "qos", "constraint", "time", "mem", "cpus", "gpus", "nodes", "array_parallelism", "requeues")
    others = {key.lstrip("-"): value for key, _, value in pairs}
    resources = Resources(**given(args, *names), setup=tuple(args.setup), sbatch=others)
    return Step(command, arguments, resources, args.jobs)


def _check_command(command: str, arguments: Sequence[str]) -> None:
    """Raise UserError for what is no command, and exit as the command itself does for arguments that it does not take."""
    if command.startswith("nnUNetv2_"):
        return
    if command not in COMMANDS or command in _UNFIT:
        fit = [name for name in COMMANDS if name not in _UNFIT]
        raise UserError(f"{command}: cannot be submitted; give {listed(fit, len(fit))}, or nnUNetv2_...")
    if not COMMANDS[command].takes_any_argument:
        parser_of(command).parse_args(arguments)


def _new_folder(given: Path | None) -> Path:
    """Where scripts and logs go; nothing is made.

    Raises:
        UserError: The folder that was given holds something.
    """
    from nnunetv2_cdpd.datasets.output import is_empty

    if given is None:
        names = (f"cdpd_submit{f'_{number}' if number > 1 else ''}" for number in range(1, 10**6))
        return Path.cwd() / next(name for name in names if not Path(name).exists())
    if given.exists() and not (given.is_dir() and is_empty(given)):
        raise UserError(f"{given}: is there already; give a new folder for the scripts and logs, or none")
    return given.absolute()
