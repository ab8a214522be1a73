"""Every command, one after the other, as a user would type them, on the made-up datasets."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
from content import file_entries, plain_text, sha, text_entry, without_warnings
from made_up_datasets import write_inputs, write_suspect

TRAINER, PLANS = "nnUNetTrainerCDPDSmall_1epoch", "nnUNetCDPDSmallPlans"
TINY_VIT = {"model_name": "vit_tiny_patch16_224", "model_kwargs": {"embed_dim": 24, "depth": 2, "num_heads": 2}}
MODEL = ("-d", "400", "-tr", TRAINER, "-p", PLANS, "-c", "3d_fullres")


# Training as nnU-Net does it, but seeded once the trainer exists: imports before it may differ from version to version
SEEDED_TRAINING = """
import random, sys
import numpy, torch
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

def run_training(self, original=nnUNetTrainer.run_training):
    self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = EPOCHS, 5, 2
    original(self)

def initialize(self, original=nnUNetTrainer.initialize):
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(0)
    original(self)

torch.use_deterministic_algorithms(True, warn_only=True)
torch.set_num_threads(1)
nnUNetTrainer.run_training, nnUNetTrainer.initialize = run_training, initialize
sys.argv = ["nnUNetv2_train", *sys.argv[1:]]
if __name__ == "__main__":
    run_training_entry()
"""


class Commands:
    """Runs commands one after the other, in an environment of its own, and digests what they print."""

    def __init__(self, work):
        self.work = work
        self.entries = {}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CDPD_", "nnUNet_"))}
        self.environment = {
            **kept,
            **{name: str(work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")},
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "nnUNet_def_n_proc"), "1"),
            "CDPD_VISION_WEIGHTS": "random",
            "CDPD_TEXT_WEIGHTS": "learned",
            "nnUNet_n_proc_DA": "0",
            "nnUNet_compile": "f",
            "PYTHONHASHSEED": "0",
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "120",
            "MPLBACKEND": "Agg",
            "MPLCONFIGDIR": str(work / "matplotlib"),
        }
        self.code = self._package_folder()
        self.environment["nnUNet_extTrainer"] = self.cdpd("link --path", "link", "--path").strip()

    def _package_folder(self):
        command = [sys.executable, "-c", "import nnunetv2_cdpd; print(nnunetv2_cdpd.__path__[0])"]
        result = subprocess.run(command, env=self.environment, cwd=self.work, capture_output=True, text=True, check=True)
        print(f"code: {result.stdout.strip()}", flush=True)
        return Path(result.stdout.strip()).parent

    def cdpd(self, name, *arguments, expect=0, **environment):
        """A command of ours; its name in the digests, its arguments."""
        command = [sys.executable, "-m", "nnunetv2_cdpd.cli.main", *map(str, arguments)]
        result = self._run(name, command, expect, environment)
        self.entries[f"stdout: cdpd {name}"] = text_entry(self.plain(result.stdout))
        self.entries[f"stderr: cdpd {name}"] = text_entry(self.plain(without_warnings(result.stderr)))
        return result.stdout

    def nnunet(self, name, module, function, *arguments, expect=0, **environment):
        """A command of nnU-Net's, by its entry point; what it prints is nnU-Net's."""
        code = f"import sys; from {module} import {function}; sys.argv[0] = {name!r}\nif __name__ == '__main__': {function}()"
        self._run(name, [sys.executable, "-c", code, *map(str, arguments)], expect, environment)

    def train(self, name, *arguments, epochs=1, **environment):
        code = SEEDED_TRAINING.replace("EPOCHS", str(epochs))
        self._run(name, [sys.executable, "-c", code, *map(str, arguments)], 0, environment)

    def _run(self, name, command, expect, environment):
        start = time.perf_counter()
        environment = {**self.environment, **environment}
        result = subprocess.run(command, env=environment, cwd=self.work, capture_output=True, text=True, timeout=900, check=False)
        print(f"{time.perf_counter() - start:6.1f} s  {name}", flush=True)
        if result.returncode != expect:
            sys.exit(f"{name}: exit code {result.returncode}, not {expect}\n{result.stdout[-3000:]}\n{result.stderr[-5000:]}")
        return result

    def plain(self, text):
        return plain_text(text, {str(self.work): "WORK", str(self.code): "CODE"})


def convert(commands, inputs):
    """Public layouts, masks, DICOM, one's own by YAML, broken cases and what helps with them."""
    one = ("-np", "1")
    commands.cdpd("sources", "sources")
    commands.cdpd("sources KITS23", "sources", "KITS23")
    commands.cdpd("convert LiTS", "convert", "LiTS", inputs / "lits", "-d", "301", *one)
    commands.cdpd("convert KITS23", "convert", "KITS23", inputs / "kits", "-d", "302", "--split-sides", *one)
    commands.cdpd("convert CLINIC", "convert", "--spec", inputs / "clinic.yaml", inputs / "clinic", "-d", "303", "--copy", *one)
    commands.cdpd("convert HOSPITAL", "convert", "--spec", inputs / "hospital.yaml", inputs / "hospital", "-d", "304", *one)
    commands.cdpd("convert TotalSegmentator", "convert", "TotalSegmentator", inputs / "totalsegmentator", "-d", "305", *one)
    for part in (0, 1):
        parts = ("--part-id", part, "--num-parts", 2)
        commands.cdpd(f"convert CHAOS, part {part}", "convert", "CHAOS", inputs / "chaos", "-d", "306", *parts, *one)
    commands.cdpd("convert CHAOS, all parts", "convert", "CHAOS", inputs / "chaos", "-d", "306", *one)
    broken = ("convert", "--spec", inputs / "broken.yaml", inputs / "broken", "-d", "308", *one)
    commands.cdpd("convert BROKEN", *broken, expect=1)
    commands.cdpd("convert BROKEN, labels resampled", *broken, "--resample-labels", expect=1)
    wrong = ("b_value", "d_size", "e_torn", "f_fraction", "g_sheared")
    commands.cdpd("convert BROKEN, wrong ones left out", *broken, "--resample-labels", "--leave-out", *wrong)
    commands.cdpd("convert KITS23 again", "convert", "KITS23", inputs / "kits", "--split-sides", *one)
    commands.cdpd("convert, no such dataset", "convert", "LITSS", inputs / "lits", *one, expect=1)
    commands.cdpd("convert, another layout", "convert", "KITS23", inputs / "lits", "-d", "309", *one, expect=1)


def merge_and_look(commands, inputs, out):
    write_suspect(commands.work / "nnUNet_raw/Dataset307_SUSPECT")
    datasets = ("301", "302", "303", "304")
    merge = ("merge", "-d", *datasets, "--id", "400", "--name", "Tiny", "--spec", inputs / "merge.yaml", "-np", "1")
    commands.cdpd("merge", *merge)
    commands.cdpd("merge again", *merge)
    commands.cdpd(
        "merge without a YAML", "merge", "-d", "302", "304", "305", "--id", "401", "--name", "Plain", "--prefix", "-np", "1",
        "--exclude-duplicates-of", inputs / "unseen/images",
    )  # fmt: skip
    commands.cdpd("merge, no such dataset", "merge", "-d", "301", "399", "--id", "402", "--name", "No", expect=1)
    for options in ((), ("--json",), ("--check",), ("--all-values",), ("--source", "CLINIC")):
        commands.cdpd(f"labels 400 {' '.join(options)}".strip(), "labels", "400", *options)
    commands.cdpd("labels 305", "labels", "305")
    commands.cdpd("audit", "audit", *datasets, "307", "-o", out / "audit", "--pictures", "2", "-np", "1")
    commands.cdpd("audit of a merged one", "audit", "400", "-o", out / "audit_merged", "--pictures", "1", "-np", "1")


def embed(commands, inputs, out):
    """Ready tables, as wide as CLIP's: the encoder itself needs weights that have to be downloaded."""
    import torch

    described = json.loads((commands.work / "nnUNet_raw/Dataset400_Tiny/dataset.json").read_text())
    generator = torch.Generator().manual_seed(0)
    rows = {
        "class_embeddings": len(described["labels"]) - sum(name in ("background", "ignore") for name in described["labels"]),
        "task_embeddings": len(described["cdpd"]["sources"]) + 1,  # and the universal task
    }
    torch.save({name: torch.randn(number, 512, generator=generator) for name, number in rows.items()}, inputs / "tables.pth")
    commands.cdpd("embed --file", "embed", "--file", inputs / "tables.pth")
    ready = ("--weights", inputs / "tables.pth", "-o", out / "embeddings.safetensors", "--picture", out / "similarity.png")
    commands.cdpd("embed", "embed", "400", *ready)


def plan_and_preprocess(commands, out):
    """With `cdpd plan`, which needs no link; the network is made tiny only after its plans were kept."""
    entries = "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints"
    preprocessed = commands.work / "nnUNet_preprocessed/Dataset400_Tiny"
    options = ("-d", "400", "-np", "1", "--verify_dataset_integrity")
    commands.nnunet("nnUNetv2_extract_fingerprint", entries, "extract_fingerprint_entry", *options)
    (out / "plans").mkdir()
    encoders = {
        "nnUNetPlannerCDPD": "",
        "nnUNetPlannerCDPDPaper": "",
        "nnUNetPlannerCDPDM": "dinov2",
        "nnUNetPlannerCDPDSmall": "dinov2-small",
    }
    for planner, encoder in encoders.items():
        before = set(preprocessed.glob("*lans.json"))
        # nnU-Net sets as many threads as nnUNet_n_proc_DA while it plans, and refuses 0
        commands.cdpd(f"plan {planner}", "plan", "-d", "400", "-pl", planner, nnUNet_n_proc_DA="1", CDPD_VISION_ENCODER=encoder)
        (made,) = set(preprocessed.glob("*lans.json")) - before
        shutil.copy(made, out / "plans" / f"{planner}.json")
    plans_file = preprocessed / f"{PLANS}.json"
    plans = json.loads(plans_file.read_text())
    configuration = plans["configurations"]["3d_fullres"]
    vision = configuration["architecture"]["arch_kwargs"]["vision"]
    for key in ("encoder", "mean", "std"):  # of the planned ViT
        vision.pop(key, None)
    vision.update(TINY_VIT)
    configuration["batch_size"] = 2
    plans_file.write_text(json.dumps(plans))
    commands.nnunet(
        "nnUNetv2_preprocess", entries, "preprocess_entry", "-d", "400", "-plans_name", PLANS, "-c", "3d_fullres", "-np", "1",
        nnUNet_n_proc_DA="1",
    )  # fmt: skip


def train(commands, inputs):
    """The second with ready text embeddings, the paper's schedule and augmentation."""
    commands.train("nnUNetv2_train", "400", "3d_fullres", "0", "-tr", TRAINER, "-p", PLANS, "-device", "cpu", "--npz", epochs=2)
    commands.train(
        "nnUNetv2_train, paper", "400", "3d_fullres", "1", "-tr", "nnUNetTrainerCDPDPaper", "-p", PLANS, "-device", "cpu",
        CDPD_TEXT_WEIGHTS=str(inputs / "tables.pth"),
    )  # fmt: skip


def give_effect(model):
    """A second fold with weights that matter: after so little training nothing is above 0.5, and text terms are the identity."""
    import torch

    path = model / "fold_0/checkpoint_final.pth"
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    generator = torch.Generator().manual_seed(1)
    for key, tensor in sorted(checkpoint["network_weights"].items()):
        if ".seg_layers." in key:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 2 if tensor.ndim > 1 else torch.full_like(tensor, -6.0))
        elif tensor.is_floating_point() and tensor.abs().max() < 0.05 and not key.startswith("slice_encoder"):
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
    (model / "fold_1").mkdir()
    torch.save(checkpoint, model / "fold_1/checkpoint_final.pth")


def predict(commands, inputs, out):
    images = inputs / "unseen/images"
    quiet = ("-device", "cpu", "--disable_progress_bar")
    commands.nnunet(
        "nnUNetv2_predict", "nnunetv2.inference.predict_from_raw_data", "predict_entry_point", "-i", images,
        "-o", out / "predict_nnunet", *MODEL, "-f", "1", "-npp", "1", "-nps", "1", *quiet,
    )  # fmt: skip
    choices = {
        "plain": ("-f", "1", "--save_probabilities"),
        "folds": ("-f", "0", "1", "-step_size", "0.7"),
        "classes": ("-f", "1", "--classes", "liver", "liver_tumor", "right_kidney", "--stats"),
        "task": ("-f", "1", "--task", "CLINIC", "--align_windows"),
        "stats_clean": ("-f", "1", "--stats", "--clean"),
        "files": ("-f", "1", "--one-file-per-class", "-num_parts", "2", "-part_id", "0"),
    }
    for name, options in choices.items():
        commands.cdpd(f"predict, {name}", "predict", "-i", images, "-o", out / f"predict_{name}", *MODEL, *options, *quiet)
    again = ("predict", "-i", images, "-o", out / "predict_plain", *MODEL, "-f", "1", "--continue_prediction", *quiet)
    commands.cdpd("predict again, other settings", *again, expect=1)
    export = ("predict", "-i", inputs / "export", "-o", out / "predict_dicom", *MODEL, "-f", "1", "--stats", *quiet)
    commands.cdpd("predict, DICOM", *export, expect=1)  # one series has a gap


def alter(label, shift, own):
    """A prediction with faults: all moved, a far piece of some classes, part of one kidney called the other, a tumor outside.

    own: Class -> the value that is stored for it.
    """
    altered = np.roll(label, shift, 0)
    for value in list(own.values())[::3]:
        corner = 1 + value % 9
        altered[corner : corner + 2, corner : corner + 3, 2:4] = value
    right = np.argwhere(altered == own["right_kidney"])
    if len(right):
        part = right[: len(right) // 5]
        altered[tuple(part.T)] = own["left_kidney"]
    tumor = np.argwhere(altered == own["liver_tumor"])
    if len(tumor):
        altered[tuple(np.minimum(tumor + [0, 8 * shift, 5], np.array(label.shape) - 1).T)] = own["liver_tumor"]
    return altered


def write_predictions(folder, references, shift, description):
    """Predictions made from references, of the classes that a prediction may hold."""
    folder.mkdir()
    names = [name for name in description["labels"] if name not in ("background", "ignore")]
    own = dict(zip(names, description["regions_class_order"]))
    for path in sorted(references.glob("*.nii.gz")):
        image = nibabel.load(path)
        altered = alter(np.asarray(image.dataobj), shift, own)
        altered = np.where(np.isin(altered, list(own.values())), altered, 0).astype(np.uint8)  # no merged value, no ignore
        nibabel.save(nibabel.Nifti1Image(altered, image.affine), folder / path.name)
    (folder / "dataset.json").write_text(json.dumps(description))


def score(commands, inputs, out):
    """Clean, evaluate and report: predictions made from references, of the merged dataset and of unseen volumes."""
    merged = commands.work / "nnUNet_raw/Dataset400_Tiny"
    first, second = out / "first", out / "second"
    for folder, shift in ((first, 1), (second, 2)):
        write_predictions(folder, merged / "labelsTr", shift, json.loads((merged / "dataset.json").read_text()))
    one = ("-np", "1")
    commands.cdpd("clean", "clean", first, out / "first_cleaned", *one)
    commands.cdpd("clean --list-rules", "clean", "--list-rules")
    commands.cdpd("evaluate", "evaluate", first, merged / "labelsTr", *one)
    compare = ("--compare", second, "-o", out / "compared", "--tolerance-mm", "6")
    commands.cdpd("evaluate --compare", "evaluate", first, merged / "labelsTr", *compare, *one)
    images = out.parent / "images_of_merged"
    images.mkdir()
    for path in sorted((commands.work / "nnUNet_raw").glob("Dataset30[1-4]_*/imagesTr/*.nii.gz")):
        shutil.copy(path, images)
    case = min(path.name.removesuffix(".nii.gz") for path in first.glob("*.nii.gz"))
    training = commands.work / "nnUNet_results/Dataset400_Tiny" / f"{TRAINER}__{PLANS}__3d_fullres/fold_0"
    shown = ("-i", images, "--pictures", "2", "--volumes", case, "--training", training, "--title", "Digests & <more>")
    commands.cdpd("report", "report", first, *shown, *one)

    unseen = inputs / "unseen/labels"
    full, cleaned = out / "full", out / "full_cleaned"
    write_predictions(full, unseen, 1, json.loads((unseen / "dataset.json").read_text()))
    commands.cdpd("clean all structures", "clean", full, cleaned, *one)
    rules = ("--rules", "sides", "tumors_in_organ")
    commands.cdpd("clean by some rules", "clean", full, out / "full_some_rules", *rules, *one)
    commands.cdpd("evaluate cleaned", "evaluate", cleaned, unseen, "--compare", full, *one)
    shown = ("-i", inputs / "unseen/images", "--window", "-100", "200", "--pictures", "1")
    commands.cdpd("report cleaned", "report", cleaned, *shown, *one)
    commands.cdpd("evaluate, paper", "evaluate", full, unseen, "--protocol", "paper", "-o", out / "paper", *one)
    commands.cdpd("evaluate predictions", "evaluate", out / "predict_stats_clean", unseen, *one)
    (second / min(path.name for path in second.glob("*.nii.gz"))).unlink()
    commands.cdpd("evaluate, one missing", "evaluate", second, merged / "labelsTr", *one, expect=1)
    commands.cdpd("evaluate --allow-missing", "evaluate", second, merged / "labelsTr", "--allow-missing", *one)


def cross_validation(commands):
    """Of one fold, which is all that was trained."""
    options = ("-c", "3d_fullres", "-p", PLANS, "-tr", TRAINER, "-f", "0")
    commands.cdpd("accumulate", "accumulate", "400", *options)
    commands.cdpd("find-best", "find-best", "400", *options, "-np", "1", "--disable_ensembling")


def run_all(work):
    """Every command; returns what was printed, and what lies in the folders, as entries."""
    inputs, out = work / "inputs", work / "out"
    for folder in (inputs, out, *(work / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"))):
        folder.mkdir()
    write_inputs(inputs)
    commands = Commands(work)
    convert(commands, inputs)
    merge_and_look(commands, inputs, out)
    embed(commands, inputs, out)
    plan_and_preprocess(commands, out)
    train(commands, inputs)
    give_effect(work / "nnUNet_results/Dataset400_Tiny" / f"{TRAINER}__{PLANS}__3d_fullres")
    predict(commands, inputs, out)
    score(commands, inputs, out)
    cross_validation(commands)
    entries = dict(commands.entries)
    for name in ("out", "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        for path in sorted(path for path in (work / name).rglob("*") if path.is_file()):
            entries.update(file_entries(path, work, commands.plain))
    # If this differs, the data were others, and the rest says nothing
    joined = "\n".join(input_digest(path) for path in sorted(inputs.rglob("*")) if path.is_file())
    entries["inputs"] = {"digest": sha(joined.encode())}
    return entries


def input_digest(path):
    """Of the bytes, but not of gzip's header, which holds the time; ours are too short to be worth more, torn ones included."""
    return sha(path.read_bytes()[10 if path.suffix == ".gz" else 0 :])
