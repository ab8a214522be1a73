"""pretrain: from CTs to a file of weights for the slice encoder; stopped at any moment, the same call goes on."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from nnunetv2_cdpd.errors import UserError, amount
from nnunetv2_cdpd.inference.devices import chosen_device
from nnunetv2_cdpd.inference.inputs import Tell
from nnunetv2_cdpd.jobs import Outcome, digest, output_folder, remove
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.pretrained.choices import RANDOM, VISION_ENCODER, VISION_WEIGHTS, weights_choice
from nnunetv2_cdpd.pretrained.vision import load_vision_weights
from nnunetv2_cdpd.pretraining.images import ct_images
from nnunetv2_cdpd.pretraining.keeping import Places, facts_of_run, start_of
from nnunetv2_cdpd.pretraining.log import RunLog
from nnunetv2_cdpd.pretraining.settings import PretrainingSettings
from nnunetv2_cdpd.pretraining.slices import SliceFile, Slices, cut_all, read_ahead
from nnunetv2_cdpd.pretraining.steps import Steps
from nnunetv2_cdpd.pretraining.views import clip_of
from nnunetv2_cdpd.released.preprocessing import HU_WINDOW
from nnunetv2_cdpd.training.distributed import launched, process_device, process_group
from nnunetv2_cdpd.training.save_interval import SaveInterval
from nnunetv2_cdpd.training.time_left import about

_SAVE_SECONDS = 600.0  # between checkpoints


@dataclass(frozen=True)
class Team:
    """The processes that share the work."""

    rank: int = 0
    size: int = 1

    def wait(self) -> None:
        if self.size > 1:
            distributed.barrier()

    def joined(self, ours: dict[str, str]) -> dict[str, str]:
        """What all of them found."""
        if self.size == 1:
            return ours
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, ours)
        return {name: line for each in found for name, line in each.items()}


def pretrain(
    output: str | Path,
    *,
    datasets: Sequence[str | int | Path] = (),
    folders: Sequence[str | Path] = (),
    weights: str | None = None,
    from_nothing: bool = False,
    settings: PretrainingSettings = PretrainingSettings(),
    device: str | None = None,
    resume: bool = False,
    slices: str | Path | None = None,
    num_processes: int | None = None,
    save_seconds: float | None = None,
    progress: bool = True,
    report: Tell = print,
) -> dict[str, str]:
    """Pretrain a slice encoder on CTs without their labels; also as one of several processes that torchrun started.

    Args:
        output: File of weights to be, .safetensors; a log (.csv) and a checkpoint come to lie beside it.
        datasets: Raw datasets: ids, names or folders.
        folders: Of images, or of DICOM series.
        weights: A file to begin with; None: as CDPD_VISION_WEIGHTS says, else the released ones, from the cache or a download.
        from_nothing: Begin with random weights.
        device: None: a GPU if there is one.
        resume: Go on where the same run was stopped, or begin it.
        slices: Folder for the slices of the images, which stay there; None: beside the output, until the run has ended.
        num_processes: For reading images.
        save_seconds: Between checkpoints; None: as CDPD_SAVE_MINUTES says, else ten minutes.
        progress: Show a bar while images are read.
        report: Called with lines about what is done.

    Returns:
        Image -> why it was left out.

    Raises:
        UserError: Whatever the user can mend.
    """
    _check_lightly()
    if from_nothing and weights is not None:
        raise UserError("argument weights and argument from_nothing: give one of them")
    if save_seconds is None and (save_seconds := SaveInterval().seconds) is None:
        save_seconds = _SAVE_SECONDS
    chosen = chosen_device(device)
    choice = RANDOM if from_nothing else weights or weights_choice(VISION_WEIGHTS)
    places = Places(Path(output), Path(slices) if slices is not None else None)
    if not resume:
        places.check_free()
    with process_group(chosen) if launched() else nullcontext():
        team = Team(distributed.get_rank(), distributed.get_world_size()) if launched() else Team()
        settings.check(team.size)
        tell: Tell = report if team.rank == 0 else lambda line: None
        images = ct_images(datasets, [Path(folder) for folder in folders], tell)
        student, began_with = _encoder(settings, choice)
        files = {
            name: SliceFile(image, places.slices, clip_of(settings.window_hu), settings.slices_per_image)
            for name, image in images.items()
        }
        run = {
            **settings.facts(),
            "the weights to begin with": began_with["sha256"] or "random",
            "the digest of the images": digest([file.made_from for file in files.values()]),
            "the number of processes": team.size,
        }
        if places.is_finished(run):
            if team.rank == 0:
                remove(places.checkpoint)  # of a run that was stopped at its very end
            tell(f"{places.output} is there already, made by this run")
            return {}
        with _folder_of_slices(places, team):
            outcome = _cut(files, team, num_processes, progress)
            read = Slices([file for name, file in files.items() if name not in outcome])
            run["the number of slices"] = len(read)
            for line in _told(read, outcome, len(files)):
                tell(line)
            steps = Steps(
                student, _encoder(settings, RANDOM)[0], settings.resolved(len(read)), len(read),
                process_device(chosen) if team.size > 1 else chosen, team.rank, team.size,
            )  # fmt: skip
            _learn(steps, read, places, run, team, save_seconds, tell)
            if team.rank == 0:
                facts = facts_of_run(run, settings.encoder, steps.iterations, read.images_of(), began_with)
                places.save_weights(steps.teacher.backbone.vit, facts)
                remove(places.checkpoint)
    encoder = settings.encoder if settings.window_hu == HU_WINDOW else "FILE.yaml"
    if encoder != settings.encoder:
        tell(f"FILE.yaml: yours to write, an encoder with the window {settings.window_hu}; docs/training.md has an example")
    tell(f"{places.output}: give it to planning and training by {VISION_ENCODER}={encoder} {VISION_WEIGHTS}={places.output}")
    return outcome


def _learn(
    steps: Steps, slices: Slices, places: Places, run: Mapping[str, Any], team: Team, save_seconds: float, tell: Tell
) -> None:
    """All iterations that are left; only the first process writes."""
    log = RunLog(steps.iterations, steps.warm_up)
    done = 0
    if (checkpoint := places.read_checkpoint(run)) is not None:
        done = checkpoint["done"]
        steps.load(checkpoint["steps"])
        log.load(checkpoint["log"])
        tell(f"going on after {done} of {steps.iterations} iterations")
    del checkpoint
    team.wait()
    begun, saved, before = time.monotonic(), time.monotonic(), done
    for batch in read_ahead(slices, range(done, steps.iterations), steps.wanted):
        row = log.add(done + 1, steps.step(done, batch))
        done += 1
        now = time.monotonic()
        if row is not None:
            seconds = (now - begun) / (done - before)
            left = about(seconds * (steps.iterations - done))
            tell(
                f"iteration {done} of {steps.iterations}: loss {row['loss']:.3f}, spread of slices {row['slice_spread']:.2f}, of "
                f"patches {row['patch_spread']:.2f}; {seconds:.2g} s each, {left} left"
            )
            log.warn_of_collapse(row, tell)
        if team.rank == 0 and now - saved >= save_seconds and done < steps.iterations:
            why = places.save_checkpoint(run, done, steps.state(), log.state())
            if why is None:
                log.write(places.log)
            else:
                tell(f"WARNING: {places.checkpoint}: cannot be saved ({why}); the one before stays, the run goes on; make room")
            saved = time.monotonic()
    if team.rank == 0:
        log.write(places.log)


def _cut(files: Mapping[str, SliceFile], team: Team, num_processes: int | None, progress: bool) -> dict[str, str]:
    """Cut the slices of all images, each process those of its share; returns what could not be read, and why."""
    ours = {name: file for place, (name, file) in enumerate(files.items()) if place % team.size == team.rank}
    outcome: Outcome[None] = cut_all(ours, num_processes, progress and team.rank == 0)
    failed = team.joined(outcome.failed)
    if len(failed) == len(files):
        Outcome[None](failed=failed).check_any("read")
    return failed


def _told(slices: Slices, failed: Mapping[str, str], num_images: int) -> Iterator[str]:
    each = ", ".join(f"{data}: {amount(images, 'image')}" for data, (images, _) in slices.images_of().items())
    yield f"{amount(len(slices), 'slice')} of {amount(num_images - len(failed), 'image')} ({each})"
    if failed:
        yield f"left out, being unreadable: {amount(len(failed), 'image')}; the end says why"


@contextmanager
def _folder_of_slices(places: Places, team: Team) -> Iterator[None]:
    """The folder for the length of a run; it stays where the run does not come to its end, or the user named it."""
    with output_folder(places.slices, team.rank, team.size):
        yield
    team.wait()
    if team.rank == 0 and not places.keep_slices:
        remove(places.slices)


def _encoder(settings: PretrainingSettings, choice: str | None) -> tuple[SliceEncoder, dict[str, Any]]:
    """A slice encoder with its weights, and what they are."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(settings.seed)
    name = settings.encoder
    try:
        encoder = SliceEncoder(name, num_maps=1, intensity_windows=[settings.window_hu], model_kwargs=dict(settings.model_kwargs))
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:  # of an unknown name, or no ViT of patches
        raise UserError(
            f"argument encoder {name}: no ViT of patches that timm knows by this name; give timm's name of one, like "
            f"{PretrainingSettings.encoder}"
        ) from error
    vit = encoder.vit
    distilled = hasattr(vit, "dist_token")  # which timm's `VisionTransformer` and the recipe do not know
    if not isinstance(vit, VisionTransformer) or vit.cls_token is None or vit.pos_embed is None or distilled:
        raise UserError(
            f"argument encoder {name}: the recipe needs one class token and absolute position embeddings, as DINOv2 has; give "
            f"one, like {PretrainingSettings.encoder}"
        )
    origin = load_vision_weights(encoder, choice)
    return encoder, start_of(name, choice, origin, choice == RANDOM)


def _check_lightly() -> None:
    try:
        import lightly.loss  # the losses
        import lightly.models.modules  # noqa: F401 - heads, and the ViT that hides patches
    except ImportError as error:
        raise UserError(f"pretraining needs {error.name}; run: pip install 'nnunetv2-cdpd[pretrain]'") from error
