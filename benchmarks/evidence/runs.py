"""Runs: one arm of a study on one split with one seed, from data to its result file. What is done already is not done again."""

import csv
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from commands import run
from patients import Patients
from raw_data import IDS, TEST, dataset_folder, join_label_maps, make_datasets
from results import Result, versions, write_json, write_result
from studies import STUDIES
from study import MERGED, PRETRAINED_FURTHER, Arm, Study

from nnunetv2_cdpd.pretrained.choices import LEARNED, RANDOM, TEXT_WEIGHTS, VISION_ENCODER, VISION_WEIGHTS
from nnunetv2_cdpd.pretrained.encoders import DINOV2

PLANS = "nnUNetBenchmarkPlans"  # the bare U-Net, on which all trainers stand
TARGET_SPACING = ("6", "5", "6")  # mm, array order; coarse, so that a small network learns on a CPU
ITERATIONS_PER_EPOCH = 60  # as benchmarks/trainers has it
CPU_SECONDS = "cpu_seconds.json"  # of a training, beside its checkpoint
METRICS = ("Dice", "HD95_mm")
PRETRAINING = {"--iterations": "500", "--batch-size": "8"}  # of `cdpd pretrain`; half an hour of a core or two


@dataclass(frozen=True)
class Run:
    """One arm on one split with one seed.

    work: Folder of the split, with the datasets of its patients.
    vision_weights: File of DINOv2 ViT-S/14, for arms with pretrained tokens.
    """

    study: str
    arm: str
    split: int
    seed: int
    data: Path
    work: Path
    device: str = "cpu"
    threads: int | None = None
    vision_weights: Path | None = None

    def do(self) -> None:
        """Make the datasets, train, predict and score, and write the result."""
        study, patients = STUDIES[self.study], Patients.read(self.data)
        arm = study.arms[self.arm]
        self.set_environment()
        make_datasets(study, patients, self.data, self.work, self.split)
        folders, seconds, predicting = {}, [], 0.0
        for dataset in arm.datasets:
            if arm.teachers is not None:
                dataset, took = self._complete(dataset, arm)
                seconds.append(took)
            if arm.extends is None:
                plan(self.work, dataset, batch_dice=study.batch_dice)
                if arm.place:
                    run(["cdpd", "place", str(IDS[dataset]), "-np", "1"])
                self._choose_vision_weights(arm)
                model = self._train(dataset, arm)
            else:
                model = self._extend(dataset, arm)
            seconds.append(json.loads((model / CPU_SECONDS).read_text()))
            folders[dataset], took = self._predict(model.parent, dataset, whole_images=study.whole_images)
            predicting += took
        predictions = next(iter(folders.values()))
        if len(folders) > 1:
            predictions = join_label_maps(folders, self.folder / "joined")
            (predictions / "dataset.json").write_text((self.tested / "dataset.json").read_text())
        run(["cdpd", "evaluate", str(predictions), str(self.tested / "labelsTr"), "-o", str(self.folder)])
        scores = read_scores(self.folder / "metrics.csv", patients)
        setting = {
            "iterations": self.iterations,
            "networks": len(arm.datasets),
            "foreground": study.foreground,
            "device": self.device,
        }
        setting |= {"batch_dice": study.batch_dice, "half": study.half, "vision_weights": arm.vision_weights}
        total = None if None in seconds else round(sum(seconds))
        write_result(Result(self.study, self.arm, self.split, self.seed, total, setting, versions(), scores, round(predicting)))

    @property
    def tested(self) -> Path:
        """The dataset of patients that are scored."""
        return self.work / TEST

    @property
    def visible(self) -> Path:
        """Images and label maps of all patients, without the slices that were blanked."""
        return self.work / "visible"

    @property
    def folder(self) -> Path:
        return self.work / f"seed{self.seed}" / self.arm

    @property
    def iterations(self) -> int:
        """Of each network."""
        study = STUDIES[self.study]
        return rounded_iterations(study.iterations * study.arms[self.arm].iterations)

    def set_environment(self, results: Path | None = None) -> None:
        """For the commands that follow; results: nnU-Net's folder of models, None: that of this run."""
        study, results = STUDIES[self.study], results or self.folder / "nnUNet_results"
        set_environment(self.work, results, self.seed, self.iterations, study, self.device, self.threads)

    def _choose_vision_weights(self, arm: Arm) -> None:
        """The arm's, for the commands that follow; those of `cdpd pretrain` are made once for a split, from its own CTs.

        Raises:
            SystemExit: The arm needs a file that was not given.
        """
        if arm.vision_weights == RANDOM:
            return
        if self.vision_weights is None:
            raise SystemExit(f"arm {self.arm} has {arm.vision_weights} tokens; give --vision-weights, a file of DINOv2 ViT-S/14")
        weights = self.vision_weights
        if arm.vision_weights == PRETRAINED_FURTHER:
            encoder = DINOV2["dinov2-small"]
            weights = self.work / "pretrained_further.safetensors"
            if not weights.exists():
                settings = [word for pair in PRETRAINING.items() for word in pair]
                begin = ["--from", str(self.vision_weights), "--encoder", encoder]
                place = ["-d", str(IDS[MERGED]), "-o", str(weights), "--continue", "-device", self.device, "-np", "1"]
                run(["cdpd", "pretrain", *place, *begin, *settings])
        os.environ[VISION_WEIGHTS] = str(weights)

    def _train(self, dataset: str, arm: Arm) -> Path:
        """The model's folder; a training that was stopped goes on, and its CPU time is added up."""
        results = Path(os.environ["nnUNet_results"])
        model = results / f"Dataset{IDS[dataset]}_{dataset}" / f"{arm.trainer}__{PLANS}__3d_fullres" / "fold_all"
        told = model / CPU_SECONDS
        if not (model / "checkpoint_final.pth").exists():
            going_on = ["--c"] if (model / "checkpoint_latest.pth").exists() else []
            took = run(["nnUNetv2_train", str(IDS[dataset]), "3d_fullres", "all", *self._common(arm), *going_on])
            # What a stopped process took is lost, so the time of a training that went on is not told.
            write_json(told, None if going_on else took)
        elif not told.exists():  # the training ended after this process had been stopped
            write_json(told, None)
        return model

    def _extend(self, dataset: str, arm: Arm) -> Path:
        """The fold of the extended model; one that was stopped goes on, and its CPU time is not told."""
        base = STUDIES[self.study].arms[arm.extends or ""]
        base_dataset, trained = base.datasets[0], f"{base.trainer}__{PLANS}__3d_fullres"
        results = self.folder.with_name(arm.extends or "") / "nnUNet_results"
        new = self.folder / "nnUNet_results" / f"Dataset{IDS[dataset]}_{dataset}" / trained
        told = new / "fold_all" / CPU_SECONDS
        if not told.exists():
            going_on = new.parent.exists()
            model = results / f"Dataset{IDS[base_dataset]}_{base_dataset}" / trained
            more = ["--unfreeze"] if arm.unfreeze else []
            took = run(["cdpd", "extend", str(model), "-d", str(IDS[dataset]), "-o", str(new), "-device", self.device, *more])
            write_json(told, None if going_on else took)
        return told.parent

    def _complete(self, dataset: str, arm: Arm) -> tuple[str, float | None]:
        """The dataset of this seed, completed by an arm's teachers, and the CPU seconds of these and of the completion.

        No network has seen an organ that it is asked about, in the patient: the three sources have no patient in common, and the
        loss of one network of all sources is masked.
        """
        models = self.models(arm.teachers or "")
        learned = STUDIES[self.study].arms[arm.teachers or ""].datasets
        partial = MERGED if len(learned) > 1 else learned[0]
        name = f"{dataset}{self.seed}"
        told = self.folder / "completion_cpu_seconds.json"
        going_on = dataset_folder(self.work, name).exists()
        if not told.exists():
            place = ["-d", str(IDS[partial]), "-o", str(IDS[name]), "--name", name]
            options = ["--without", "reliability", "-device", self.device, *arm.completion]
            took = run(["cdpd", "complete", *place, "--teachers", *map(str, models), *options])
            write_json(told, None if going_on else took)
        spent = [json.loads((model / "fold_all" / CPU_SECONDS).read_text()) for model in models]
        spent.append(json.loads(told.read_text()))
        return name, None if None in spent else sum(spent)

    def models(self, arm: str) -> list[Path]:
        """Folders of the networks of an arm, of this split and seed."""
        its, results = STUDIES[self.study].arms[arm], self.folder.with_name(arm) / "nnUNet_results"
        return [results / f"Dataset{IDS[source]}_{source}" / f"{its.trainer}__{PLANS}__3d_fullres" for source in its.datasets]

    def _predict(self, model: Path, dataset: str, *, whole_images: bool) -> tuple[Path, float]:
        """Predictions of the patients that are scored, and the CPU seconds of it."""
        folder = self.folder / dataset
        command = ["cdpd", "predict"] if whole_images else ["nnUNetv2_predict_from_modelfolder"]
        place = ["-i", str(self.tested / "imagesTr"), "-o", str(folder), "-m", str(model), "-f", "all"]
        return folder, run([*command, *place, "-npp", "1", "-nps", "1", "-device", self.device])

    def _common(self, arm: Arm) -> list[str]:
        return ["-tr", arm.trainer, "-p", PLANS, "-device", self.device]


def set_environment(
    work: Path, results: Path, seed: int, iterations: int, study: Study, device: str = "cpu", threads: int | None = None
) -> None:
    """For the commands that follow: nnU-Net's folders, the trainers and what they read."""
    os.environ |= {
        "nnUNet_raw": str(work / "nnUNet_raw"),
        "nnUNet_preprocessed": str(work / "nnUNet_preprocessed"),
        "nnUNet_results": str(results),
        "nnUNet_extTrainer": str(Path(__file__).parents[1] / "trainers"),
        "BENCHMARK_SEED": str(seed),
        "BENCHMARK_FOREGROUND": str(study.foreground),
        "BENCHMARK_HALF": "1" if study.half else "",
        "BENCHMARK_ITERATIONS": str(iterations),
        VISION_WEIGHTS: RANDOM,
        TEXT_WEIGHTS: LEARNED,
    }
    os.environ.pop(VISION_ENCODER, None)  # the user's would be the ViT of every arm
    for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        Path(os.environ[folder]).mkdir(parents=True, exist_ok=True)
    if device == "cpu":
        os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}
    if threads:
        os.environ |= {"BENCHMARK_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}


def rounded_iterations(iterations: float) -> int:
    return round(iterations / ITERATIONS_PER_EPOCH) * ITERATIONS_PER_EPOCH


def plan(work: Path, dataset: str, *, batch_dice: bool = False) -> None:
    """Plan and preprocess a dataset, then write plans with the bare U-Net."""
    preprocessed = dataset_folder(work, dataset, "nnUNet_preprocessed")
    if (preprocessed / f"{PLANS}.json").exists():
        return
    run(
        ["nnUNetv2_plan_and_preprocess", "-d", str(IDS[dataset]), "-pl", "nnUNetPlannerCDPDSmall", "-c", "3d_fullres"]
        + ["-np", "1", "-npfp", "1", "-overwrite_target_spacing", *TARGET_SPACING]
    )
    plans = json.loads((preprocessed / "nnUNetCDPDSmallPlans.json").read_text())
    plans["plans_name"] = PLANS
    configuration = plans["configurations"]["3d_fullres"]
    configuration["batch_dice"] = batch_dice
    architecture = configuration["architecture"]
    kwargs = architecture["arch_kwargs"]
    architecture["network_class_name"] = kwargs.pop("unet_class_name")
    for added in ("fused_stages", "vision", "patch_size", "text", "task"):
        kwargs.pop(added)
    (preprocessed / f"{PLANS}.json").write_text(json.dumps(plans, indent=2))


def read_scores(path: Path, patients: Patients) -> dict[str, dict[str, dict[str, float | None]]]:
    """Patient -> organ -> metric, of the organs that a patient's reference has; None: infinite, the prediction is empty.

    An organ all of which lies in slices that were blanked, and cut off with them, is none of its reference.
    """
    scores: dict[str, dict[str, dict[str, float | None]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["class"] in patients.annotated[row["case"]] and float(row["n_ref"]) > 0:
                values = {metric: float(row[metric]) for metric in METRICS}
                finite = {metric: round(value, 4) if math.isfinite(value) else None for metric, value in values.items()}
                scores.setdefault(row["case"], {})[row["class"]] = finite
    return scores
