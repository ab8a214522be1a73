"""PartialLabelTrainer: nnU-Net's trainer for CDPDNet on partially labelled datasets; what nnUNetTrainerCDPD does.

What differs from nnUNetTrainer:
    network      CDPDNet in place of the plans' U-Net, a sigmoid head for every class, pretrained encoders read at the start
    data         source-balanced cases, patches centred on annotated classes, a task for every sample
    loss         masked by what the source of a case annotates; so are the pseudo Dice and the final validation
    mirroring    none where a class has a side
    optimizer    AdamW with the paper's learning rate and weight decay, nnU-Net's polynomial decay

Source: Wu et al., CDPDNet, arXiv 2505.18958.
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from os.path import join
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.collate_outputs import collate_outputs
from nnunetv2.utilities.helpers import dummy_context
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import distributed, nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_cdpd.annotation import differing_heads, read_annotation, with_sigmoid_heads
from nnunetv2_cdpd.classes import side_of
from nnunetv2_cdpd.errors import UserError, listed, one_line, reason
from nnunetv2_cdpd.host import DATASET_FILE, DEBUG_FILE, exchanged
from nnunetv2_cdpd.jobs import read_json
from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.place.files import PLACE_FILE, copy_place
from nnunetv2_cdpd.planning.architecture import plans_with_cdpd
from nnunetv2_cdpd.planning.one_model import differing_plans
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE, plans_with_recorded_network
from nnunetv2_cdpd.pretrained.choices import LEARNED, TEXT_WEIGHTS, VISION_ENCODER, weights_choice
from nnunetv2_cdpd.pretrained.encoder_choice import check_nothing_is_given_for_vision
from nnunetv2_cdpd.pretrained.kept_embeddings import CACHE_FILE
from nnunetv2_cdpd.pretrained.torch_files import numbers_of_numpy, read_torch
from nnunetv2_cdpd.training.distributed import data_parallel, process_device
from nnunetv2_cdpd.training.encoders import fill_frozen_encoders
from nnunetv2_cdpd.training.label_resampling import faster_on_label_maps
from nnunetv2_cdpd.training.loss import PartialLabelLoss
from nnunetv2_cdpd.training.optimizer import adamw
from nnunetv2_cdpd.training.progress import SourceLogger, dice_by_source, source_key
from nnunetv2_cdpd.training.provenance import training_provenance
from nnunetv2_cdpd.training.pseudo_dice import counts_per_source
from nnunetv2_cdpd.training.recipe import Recipe
from nnunetv2_cdpd.training.sampling import AnnotatedCases, SourceBalancedDataLoader
from nnunetv2_cdpd.training.seeding import seed_generators
from nnunetv2_cdpd.training.token_inputs import TokenTrainer
from nnunetv2_cdpd.training.zones import placed_cases

_CHECKPOINTS = "fold_*/checkpoint_*.pth"  # of all folds of a model


class PartialLabelTrainer(TokenTrainer):
    """Trains CDPDNet on plans of nnUNetPlannerCDPD or of nnU-Net's own planners, on any nnU-Net dataset.

    A dataset without a `cdpd` block in its dataset.json is one source with every class annotated.

    Variants change the class attribute `recipe`, or set attributes in `__init__` as nnU-Net's own variants do.
    """

    recipe = Recipe()
    source_sampling_exponent: float  # of the recipe, as all that it says
    universal_task_probability: float
    border_patches: bool
    foreground_jitter: float
    batch_dice: bool | None = None
    place_negatives: bool
    seed: int | None = None
    unplanned_vision = False  # the network has vision tokens, and the plans were made without

    inference_allowed_mirroring_axes: tuple[int, ...] | None  # the host's
    loss: PartialLabelLoss
    provenance: str  # which the host writes to debug.json, as all attributes

    def __init__(
        self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = torch.device("cuda")
    ) -> None:
        for former in ("hyperparameters", "network_settings"):
            if hasattr(self, former):
                raise UserError(f"{type(self).__name__}: `{former}` is no more; say it in `recipe` (docs/training.md shows how)")
        self.resumed = plans["continue_training"]  # the host takes it out
        super().__init__(plans, configuration, fold, with_sigmoid_heads(dataset_json), device)
        if self.is_ddp:  # the host takes CUDA for granted, and the rank for the index of the GPU
            self.device = process_device(device)
            if self.device.type != "cuda":
                self.grad_scaler = None
        self.annotation = read_annotation(self.dataset_json, join(self.preprocessed_dataset_folder_base or "", DATASET_FILE))
        self.logger.local_logger = SourceLogger([source.name for source in self.annotation.sources])
        self._set_plans(self._plans_with_network())
        self.__dict__.update(self.recipe.trainer_attributes)

    # ---- network -------------------------------------------------------------------------------------------------

    def _plans_with_network(self) -> dict:
        """The plans with CDPDNet; a continued training keeps the network that it was started with."""
        # Without any checkpoint there is nothing to agree with: a start that came to nothing may have left other plans.
        going_on = self.resumed and self.output_folder_base and any(Path(self.output_folder_base).glob(_CHECKPOINTS))
        recorded = read_json(Path(self.output_folder_base, PLANS_FILE)) if going_on else None
        if isinstance(recorded, dict):  # a torn one is written again, and the checkpoint holds the plans too
            return plans_with_recorded_network(self.plans_manager.plans, self.configuration_name, recorded)
        settings = self.recipe.network.with_chosen_encoder()
        if weights_choice(TEXT_WEIGHTS) == LEARNED:
            settings = replace(settings, text_encoder=LEARNED)
        plans = plans_with_cdpd(self.plans_manager.plans, self.configuration_name, self.annotation, settings)
        planned, made = (
            PlansManager(each).get_configuration(self.configuration_name).network_arch_init_kwargs.get("vision")
            for each in (self.plans_manager.plans, plans)
        )
        self.unplanned_vision = made is not None and planned is None
        return plans

    def _set_plans(self, plans: dict) -> None:
        self.my_init_kwargs["plans"] = plans
        self.plans_manager = PlansManager(plans)
        self.configuration_manager = self.plans_manager.get_configuration(self.configuration_name)

    def initialize(self) -> None:
        self._seed()  # of weights that are not pretrained
        with exchanged("data_parallel", lambda network, device_ids: data_parallel(network, self.device)):
            super().initialize()

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The host's; what the network's parts say of arguments that do not go together is told in a line."""
        try:
            return nnUNetTrainer.build_network_architecture(
                plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
            )
        except (ValueError, TypeError) as error:
            raise UserError(
                f"plans {plans_manager.plans_name}: no network can be built of `architecture` ({reason(error)}); correct them, "
                "or the trainer's recipe, as docs/training.md has it"
            ) from error

    @property
    def cdpdnet(self) -> CDPDNet:
        """The network itself, without the wrappers of DDP and torch.compile."""
        network = self.network.module if isinstance(self.network, DistributedDataParallel) else self.network
        return cast(CDPDNet, network._orig_mod if isinstance(network, OptimizedModule) else network)

    def on_train_start(self) -> None:
        if not self.was_initialized:
            self.initialize()
        self._check_other_folds()
        embeddings_file = join(self.preprocessed_dataset_folder_base, CACHE_FILE)
        kwargs = self.configuration_manager.network_arch_init_kwargs
        if self.cdpdnet.slice_encoder is None:
            self.print_to_log_file(self.told_without_vision())
        if self.unplanned_vision:
            self.print_to_log_file(
                f"The plans were made without vision tokens and do not count their memory: set {VISION_ENCODER} for planning too"
            )
        origins = list(fill_frozen_encoders(self.cdpdnet, kwargs, embeddings_file))
        for origin in origins:
            self.print_to_log_file(origin.line)
        self.provenance = training_provenance(origins, self.former_debug())
        super().on_train_start()
        if self.local_rank == 0:  # behind the host, which copies the file that exports take along
            self._take_place()

    def told_without_vision(self) -> str:
        """That the network has no vision tokens, for the log.

        Raises:
            UserError: The training begins (with --c too, where there is nothing to go on from), and the user gives weights
                for them.
        """
        if not self.recipe.network.vision_tokens:
            return f"No vision tokens: {type(self).__name__} trains without"
        if self.cdpdnet.coordinate_tokens is not None:
            return "No vision encoder: tokens are of coordinates"
        if self.current_epoch == 0:
            check_nothing_is_given_for_vision()
        if self.configuration_manager.network_arch_init_kwargs["vision"] is not None:
            return "No vision tokens: the plans fuse no stage with them"
        return f"No vision tokens: the plans have none; to have them, name an encoder in {VISION_ENCODER} and plan again"

    def _take_place(self) -> None:
        """Have what was learned of where classes lie in the model folder, for its predictions to be cleaned by."""
        try:
            for line in copy_place(self.place_source(), Path(self.output_folder_base), self.annotation):
                self.print_to_log_file(line)
        except (OSError, UserError) as error:
            self.print_to_log_file(f"The model folder gets no {PLACE_FILE}: {one_line(error)}")

    def place_source(self) -> Path:
        """Folder whose place.json, if there is one, the model folder gets."""
        return Path(self.preprocessed_dataset_folder_base)

    def former_debug(self) -> Any:
        """Content of the debug.json of the training that is continued; None: it begins."""
        return read_json(Path(self.output_folder, DEBUG_FILE)) if self.resumed else None

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """The host's, into the network that the checkpoint was saved from, whatever the choices are now (--val, --c)."""
        if not self.was_initialized and isinstance(filename_or_checkpoint, str):
            filename_or_checkpoint = self.whole_checkpoint(filename_or_checkpoint)
            checkpoint = torch.load(filename_or_checkpoint, map_location="cpu", mmap=True, weights_only=False)  # as the host does
            recorded = checkpoint["init_args"]
            self._check_heads(recorded["dataset_json"], filename_or_checkpoint)
            self._set_plans(plans_with_recorded_network(self.plans_manager.plans, self.configuration_name, recorded["plans"]))
        super().load_checkpoint(filename_or_checkpoint)

    def _check_heads(self, trained_with: Mapping[str, Any], of_training: str | Path) -> None:
        """Raise UserError unless the network of a training stands for the classes and sources of the dataset as it is now."""
        if told := differing_heads(trained_with, self.dataset_json):
            raise UserError(
                f"{of_training}: trained with other classes or sources than those of the dataset.json in "
                f"{self.preprocessed_dataset_folder_base} ({listed(told)}); merge and preprocess as before, or move it away and "
                "train anew"
            )

    def _check_other_folds(self) -> None:
        """Raise UserError where folds of another network lie beside: a prediction would take them for one model."""
        others = {path.parent: path for path in sorted(Path(self.output_folder_base).glob(_CHECKPOINTS))}
        for fold, path in others.items():
            if fold == Path(self.output_folder):
                continue
            try:  # not plans.json, which may be of a start that came to nothing
                recorded = read_torch(path, "copy it again", "train it first", numbers_of_numpy(), mapped=True)["init_args"]
                plans, described = recorded["plans"], recorded["dataset_json"]
            except (UserError, KeyError, TypeError) as error:  # a prediction tells of it, too
                self.print_to_log_file(f"Nothing tells whether {path} is of this model: {reason(error)}")
                continue
            self._check_heads(described, fold)
            if told := differing_plans(plans, self.plans_manager.plans, self.configuration_name):
                raise UserError(
                    f"{fold}: trained with another network or preprocessing than this fold would have ({listed(told)}), and a "
                    "prediction takes all folds for one model; choose and plan as for that one, or move it away and train anew"
                )

    # ---- data ----------------------------------------------------------------------------------------------------

    def get_tr_and_val_datasets(self) -> tuple[AnnotatedCases, AnnotatedCases]:
        of_training, of_validation = super().get_tr_and_val_datasets()
        training, validation = AnnotatedCases(of_training, self.annotation), AnnotatedCases(of_validation, self.annotation)
        if self.place_negatives:
            if self.is_cascaded:
                raise NotImplementedError(
                    "place_negatives in a cascade, where nnU-Net has the stage before in place of the zones"
                )
            training = placed_cases(of_training, self.annotation, self.plans_manager, self.preprocessed_dataset_folder_base)
        for case in training.identifiers[:1]:  # what this says of a wrong dataset.json would be lost in a loader's process
            training.load_case(case)
        return training, validation

    def get_dataloaders(self) -> tuple[Any, Any]:
        task = self.configuration_manager.network_arch_init_kwargs["task"]
        loader = partial(
            SourceBalancedDataLoader,
            source_exponent=self.source_sampling_exponent,
            # the released network, continued, has the sources' tasks only
            universal_probability=self.universal_task_probability if task and task["universal"] else 0.0,
            border_patches=self.border_patches,
            foreground_jitter=self.foreground_jitter,
            **self.loader_settings(),
        )
        with exchanged("data_loader", loader):
            return super().get_dataloaders()

    def get_training_transforms(self, patch_size: Any, *args: Any, **kwargs: Any) -> ComposeTransforms:
        """The host's, without the conversion to regions, since the loss takes integer label maps, and faster on them."""
        composed: Any = super().get_training_transforms(patch_size, *args, **{**kwargs, "regions": None})
        composed.transforms = [faster_on_label_maps(transform) for transform in composed.transforms]
        return composed

    def get_validation_transforms(self, *args: Any, **kwargs: Any) -> BasicTransform:
        """The host's, without the conversion to regions."""
        return super().get_validation_transforms(*args, **{**kwargs, "regions": None})

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:
        rotation, do_dummy_2d, initial_patch_size, mirror_axes = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        # Of one side alone, too: nothing in a mirrored neck tells the left parotid from the right one.
        if sided := [name for name in self.annotation.classes if side_of(name)]:
            self.print_to_log_file(f"No mirroring, because classes have a side: {listed(sided)}")
            mirror_axes = self.inference_allowed_mirroring_axes = None
        elif mirror_axes is not None:
            self.print_to_log_file("Mirroring as nnU-Net has it: no class name says a side (left, L, lh, ...)")
        return rotation, do_dummy_2d, initial_patch_size, mirror_axes

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._seed()

    def _seed(self) -> None:
        if self.seed is not None:
            seed_generators(self.seed, self.current_epoch, self.local_rank)

    # ---- optimization --------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        training_only = self.attach_training_parts()  # the host has built the network, and wraps it for DDP after this
        trained = (parameter for parameter in self.network.parameters() if parameter.requires_grad)
        optimizer = adamw(trained, self.initial_lr, self.weight_decay)
        optimizer.training_only = training_only
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def _build_loss(self) -> PartialLabelLoss:
        host_loss = super()._build_loss()  # for its weights of the deep-supervision outputs
        loss = PartialLabelLoss(
            self.annotation,
            weights=host_loss.weight_factors if self.enable_deep_supervision else (1.0,),
            batch_dice=self.configuration_manager.batch_dice if self.batch_dice is None else self.batch_dice,
            guide_weight=self.cdpdnet.vision.guide,
            ddp=self.is_ddp,
        )
        return loss.to(self.device)

    def train_step(self, batch: dict) -> dict:
        with self.inputs_of(batch, "task", "tokens"):
            return super().train_step(batch)

    # ---- validation ----------------------------------------------------------------------------------------------

    def validation_step(self, batch: dict) -> dict:
        """Loss and counts of one batch under the universal task; the host's own needs one-hot targets."""
        data = batch["data"].to(self.device, non_blocking=True)
        target = [entry.to(self.device, non_blocking=True) for entry in batch["target"]]
        autocast = torch.autocast("cuda") if self.device.type == "cuda" else dummy_context()
        with self.inputs_of(batch, "tokens"), autocast:
            output = self.network(data)
            loss = self.loss(output, target)
        logits = output[0] if self.enable_deep_supervision else output
        counts = counts_per_source(logits, target[0], target[-1], self.loss).cpu().numpy()
        tp, fp, fn = counts.sum(1)
        return {"loss": loss.cpu().numpy(), "tp_hard": tp, "fp_hard": fp, "fn_hard": fn, "counts_per_source": counts}

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            # 0 / 0: no patch of this epoch held or predicted the class, or any class
            warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
            super().on_validation_epoch_end(val_outputs)
        self._log_dice_by_source(collate_outputs(val_outputs)["counts_per_source"].sum(0))

    def _log_dice_by_source(self, counts: np.ndarray) -> None:
        """Log the pseudo Dice of each source, and name it by class in the log file; counts: (3, S, K + U)."""
        if self.is_ddp:
            gathered: list = [None] * distributed.get_world_size()
            distributed.all_gather_object(gathered, counts)
            counts = sum(gathered)
        dice, means = dice_by_source(counts)
        for source, row, mean in zip(self.annotation.sources, dice, means):
            self.logger.log(source_key(source.name), float(mean), self.current_epoch)
            named = {name: round(float(value), 4) for name, value in zip(self.annotation.column_names, row) if value == value}
            self.print_to_log_file(
                f"Pseudo dice of source {source.name}: {round(float(mean), 4)} {named}", also_print_to_console=False
            )

    def on_epoch_end(self) -> None:
        if self._best_ema is not None and np.isnan(self._best_ema):  # nothing was ever counted; any number is better
            self._best_ema = None
        super().on_epoch_end()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        with exchanged("final_metrics", self._final_metrics):
            super().perform_actual_validation(save_probabilities)

    def _final_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """nnU-Net's compute_metrics_on_folder for annotated classes, with the Dice of each source in the log."""
        from nnunetv2_cdpd.evaluation.final_validation import compute_annotated_metrics_on_folder

        summary = compute_annotated_metrics_on_folder(*args, **kwargs, annotation=self.annotation)
        for name, source in summary["cdpd"]["sources"].items():
            dice = {label: round(of["Dice"], 4) for label, of in source["classes"].items() if of != "not annotated"}
            mean = source["foreground_mean"]["Dice"]
            self.print_to_log_file(f"Validation Dice of source {name} ({source['cases']} cases): {round(mean, 4)} {dice}")
        return summary
