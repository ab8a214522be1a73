"""What a prediction holds: which classes compete, which are wanted, and under which tasks their logits are computed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.decodings import DECODINGS
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.inference.network import TaskClasses
from nnunetv2_cdpd.network.cdpdnet import CDPDNet


@dataclass(frozen=True)
class Selection:
    """Classes are indices into `annotation.classes`.

    tree: Which class competes with which.
    wanted: Classes to tell of.
    needed: Classes whose logits are computed for that.
    choices: Tasks under which logits are computed, and of which of the needed classes.
    clean: Clean up by anatomy.
    probabilities: Keep the logits.
    decode: Where a class begins, one of `DECODINGS`.
    """

    tree: ClassTree
    wanted: tuple[int, ...]
    needed: tuple[int, ...]
    choices: tuple[TaskClasses, ...]
    clean: bool
    probabilities: bool
    decode: str

    @classmethod
    def of(
        cls,
        network: CDPDNet,
        annotation: Annotation,
        classes: Collection[str] | None,
        *,
        task: str | None,
        clean: bool,
        probabilities: bool,
        decode: str,
        compute_all: bool,
    ) -> "Selection":
        """As `Predictor.select` says it.

        Raises:
            UserError: An unknown class, task or decoding, or a class that the task does not annotate.
        """
        if decode not in DECODINGS:
            raise UserError(f"argument decode: {decode!r}; it is one of {', '.join(DECODINGS)}")
        num_sources = 0 if network.task_prompt is None else network.num_tasks - (network.universal_task is not None)
        if num_sources and num_sources != len(annotation.sources):
            raise UserError(
                f"{annotation.where}: {len(annotation.sources)} sources, and the model has {num_sources} task prompts; is it the "
                "dataset.json of another training?"
            )
        annotated = [annotation.annotated_with_merged(source) for source in annotation.sources]
        index = None if task is None else _index_of_task(task, annotation, num_sources)
        tree = ClassTree.of(annotation, None if index is None else annotated[index])
        wanted = tree.classes if classes is None else tree.indices(classes)
        if not wanted:
            raise UserError("no class to predict; name at least one")
        needed = tree.classes if clean or compute_all else tree.needed_for(wanted)
        if index is None and num_sources and network.universal_task is None:
            choices = _all_tasks(annotation, annotated, needed)
        else:
            choices = (TaskClasses(index, needed),)
        return cls(tree, wanted, needed, choices, clean, probabilities, decode)


def _index_of_task(task: str, annotation: Annotation, num_sources: int) -> int:
    names = [source.name for source in annotation.sources]
    if not num_sources:
        raise UserError(f"task {task!r}: this model was trained without task prompts")
    if task not in names:
        raise UserError(f"no task {task!r}; this model was trained on {', '.join(names)}")
    return names.index(task)


def _all_tasks(annotation: Annotation, annotated: Sequence[frozenset[str]], needed: Sequence[int]) -> tuple[TaskClasses, ...]:
    """Every task for the needed classes that it annotates, for a network without a universal task."""
    choices = [TaskClasses(t, tuple(k for k in needed if annotation.classes[k] in names)) for t, names in enumerate(annotated)]
    never = [annotation.classes[k] for k in needed if not any(k in choice.classes for choice in choices)]
    if never:
        raise UserError(f"{annotation.where}: no source annotates {', '.join(never)}, so no task of this model tells about it")
    return tuple(choice for choice in choices if choice.classes)
