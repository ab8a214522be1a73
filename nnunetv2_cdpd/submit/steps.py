"""Step: one command as it is typed, and the jobs that it becomes: one per fold of a training, parts of the cases of others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nnunetv2_cdpd.errors import UserError, check_at_least, listed

TRAINING = ("train", "nnUNetv2_train")
_LAUNCHED = ("train", "pretrain")  # those whose processes torchrun starts
_SHARING = ("convert", "predict", "nnUNetv2_predict")  # those that take a part of the cases
_PARTS = ("-num_parts", "--num-parts", "-part_id", "--part-id")
_RESUME = {  # what a job that is started again adds, and what says the same
    "train": ("--c",),
    "nnUNetv2_train": ("--c",),
    "pretrain": ("--continue",),
    "predict": ("--continue_prediction", "--resume", "--c"),
    # nnUNetv2_predict begins anew: by its --continue_prediction it would keep the file that it was writing when it was stopped
}
_VALIDATION = "--val"  # of a training: cannot be continued, is done anew
_OF_TRAINING = ("-tr", "-p", "-pretrained_weights", "-num_gpus", "-device")  # options with a value
_OWN = ("output", "error", "signal", "array", "dependency", "nodes", "ntasks-per-node")  # of sbatch's options


@dataclass(frozen=True)
class Resources:
    """What a job asks of the cluster; None: the cluster's default.

    time, mem, gpus: As sbatch takes them: "2-00:00:00", "64G", "2" or "a100:2" (on each node).
    cpus: For the job, on each node.
    nodes: Of a training.
    array_parallelism: Most jobs of a step that run at a time; None: all.
    requeues: How often a job may be started again, after preemption too, before a time-out is its end.
    setup: Lines of the shell before the work, as "module load cuda".
    sbatch: Other options of sbatch -> value.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str | None = None
    mem: str | None = None
    cpus: int | None = None
    gpus: str | None = None
    nodes: int = 1
    array_parallelism: int | None = None
    requeues: int = 50
    setup: tuple[str, ...] = ()
    sbatch: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_at_least(1, cpus=self.cpus, nodes=self.nodes, array_parallelism=self.array_parallelism)
        check_at_least(0, requeues=self.requeues)
        if bad := [key for key in self.sbatch if not re.fullmatch(r"[A-Za-z][\w-]*", key, re.ASCII)]:
            raise UserError(f"argument sbatch {bad[0]}: is no option of sbatch; give KEY=VALUE, as mail-type=END")
        if own := [key for key in self.sbatch if key.lower().replace("_", "-") in _OWN]:
            raise UserError(f"argument sbatch {own[0]}: jobs have it for their logs, restarts, order and parts; leave it out")
        texts = (self.partition, self.account, self.qos, self.constraint, self.time, self.mem, self.gpus)
        for text in (*texts, *self.sbatch, *self.sbatch.values()):
            if text is not None and not text.isprintable():
                raise UserError(f"{text!r}: becomes a line for sbatch, in which a line break or the like cannot be; leave it out")
        self.num_gpus  # noqa: B018  # raises

    @property
    def num_gpus(self) -> int:
        """Of each node."""
        *_, number = (self.gpus or "0").rpartition(":")
        if not (number.isascii() and number.isdigit()):
            raise UserError(f"argument gpus {self.gpus}: give a number of GPUs, or a kind and a number, as a100:2")
        return int(number)


@dataclass(frozen=True)
class Step:
    """A command with its arguments, one of cdpd or of nnU-Net.

    jobs: Among how many jobs its cases are shared.
    """

    command: str
    arguments: tuple[str, ...]
    resources: Resources = Resources()
    jobs: int = 1


@dataclass(frozen=True)
class Submission:
    """What is submitted at once: one job, or an array of them.

    name: Of its files.
    command: See `Step`.
    calls: The arguments of each job of the array.
    resume: What each adds to them where it is started again.
    processes: Of a training, on each node; 0: started as any other command.
    """

    name: str
    command: str
    calls: tuple[tuple[str, ...], ...]
    resume: tuple[str, ...]
    resources: Resources
    processes: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files, without ending, one for each of `calls`."""
        return (self.name,) if len(self.calls) == 1 else tuple(f"{self.name}_{number}" for number in range(len(self.calls)))


def jobs_of(steps: Sequence[Step]) -> list[Submission]:
    """The jobs of all steps, each after the one before it.

    Raises:
        UserError: A command cannot be shared out as asked, or its arguments say no training.
    """
    made: list[Submission] = []
    for step in steps:
        for calls, resume in _calls(step):
            name = f"{len(made) + 1}-{step.command}"
            made.append(Submission(name, step.command, calls, resume, step.resources, _processes(step)))
    return made


def _calls(step: Step) -> list[tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]]:
    """Arguments of each job of one array after the other, with what is added where one of it is started again."""
    command, arguments = step.command, step.arguments
    check_at_least(1, jobs=step.jobs)
    if step.resources.nodes > 1 and not _processes(step):
        raise UserError(
            f"argument nodes {step.resources.nodes}: {command} runs on one; only `train` without -num_gpus and `pretrain` run on "
            "several"
        )
    resume = _resume(command, arguments)
    if command in TRAINING:
        _check_training(step)
        return [(_of_folds(command, arguments), resume)]
    if step.jobs == 1:
        return [((arguments,), resume)]
    if command not in _SHARING:
        raise UserError(f"argument jobs {step.jobs}: {command} cannot share its work among jobs; {listed(list(_SHARING))} can")
    if given := [word for word in arguments if word in _PARTS]:
        raise UserError(f"argument jobs {step.jobs}: shares the cases among the jobs; leave {given[0]} out")
    parts = tuple((*arguments, "-num_parts", str(step.jobs), "-part_id", str(part)) for part in range(step.jobs))
    if command == "convert":  # dataset.json, by a last job that finds all cases done
        return [(parts, resume), ((arguments,), resume)]
    if command == "predict" and not {"--stats", "--quality"}.isdisjoint(arguments):  # the tables, likewise
        return [(parts, resume), (((*arguments, *resume),), ())]
    return [(parts, resume)]


def _resume(command: str, arguments: Sequence[str]) -> tuple[str, ...]:
    spellings = _RESUME.get(command, ())
    if {*spellings} & {*arguments} or (command in TRAINING and _VALIDATION in arguments):
        return ()
    return spellings[:1]


def _processes(step: Step) -> int:
    """How many processes train together on each node; 0: a launcher is not needed."""
    if step.command not in _LAUNCHED or "-num_gpus" in step.arguments:  # nnU-Net starts the processes itself
        return 0
    processes = max(1, step.resources.num_gpus)
    return processes if processes * step.resources.nodes > 1 else 0


def _check_training(step: Step) -> None:
    if step.jobs > 1:
        raise UserError(f"argument jobs {step.jobs}: a training has one job for each fold; leave it out")
    if step.command != "train" and "-pretrained_weights" in step.arguments:
        raise UserError(
            f"{step.command} -pretrained_weights: nnU-Net cannot go on with such a training where it is stopped; submit `train` "
            "with the same arguments, which can"
        )


def _of_folds(command: str, arguments: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The arguments for each fold of `DATASET CONFIGURATION FOLD [FOLD ...]`, which may also be said by -d, -c and -f."""
    given: dict[str, list[str]] = {"-d": [], "-c": [], "-f": []}
    places: list[str] = []
    others: list[str] = []
    goes_to = places
    for word in arguments:
        if word in given:
            goes_to = given[word]
        elif word.startswith("-"):
            others.append(word)
            goes_to = others if word in _OF_TRAINING else places
        else:
            goes_to.append(word)
            if goes_to is not given["-f"]:
                goes_to = places
    for flag in ("-d", "-c"):
        given[flag] = given[flag] or [places.pop(0) for _ in places[:1]]
    folds = given["-f"] + places
    if not (len(given["-d"]) == len(given["-c"]) == 1 and folds):
        raise UserError(f"{command} {' '.join(arguments)}: give DATASET CONFIGURATION FOLD [FOLD ...], one job for each fold")
    for fold in folds:
        if fold != "all" and not (fold.isascii() and fold.isdigit()):
            raise UserError(f"{command}: fold {fold}: give the numbers of folds, as 0 1 2 3 4, or all")
    if len({*folds}) < len(folds):
        raise UserError(f"{command}: folds {' '.join(folds)}: one is given twice; give each once")
    return tuple((*given["-d"], *given["-c"], fold, *others) for fold in folds)
