"""Which jobs a command becomes: folds, parts of cases and a last job, processes of a training."""

import pytest

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.submit.steps import Resources, Step, jobs_of


def one(text, jobs=1, **resources):
    command, *arguments = text.split()
    return jobs_of([Step(command, tuple(arguments), Resources(**resources), jobs)])


def calls(*args, **options):
    return [[" ".join(call) for call in job.calls] for job in one(*args, **options)]


@pytest.mark.parametrize(
    "typed",
    [
        "train 400 3d_fullres 0 2 all -tr X --npz",
        "train -d 400 -c 3d_fullres -f 0 2 all -tr X --npz",
        "train -tr X --npz 400 3d_fullres 0 2 all",
        "train -tr X 400 -c 3d_fullres --npz 0 2 all",
        "train -f 0 2 all -tr X --npz 400 3d_fullres",
    ],
)
def test_a_training_is_a_job_for_each_fold(typed):
    expected = [f"400 3d_fullres {fold} -tr X --npz" for fold in ("0", "2", "all")]
    assert calls(typed) == [expected]
    (job,) = one(typed)
    assert job.files == ("1-train_0", "1-train_1", "1-train_2") and job.resume == ("--c",)


@pytest.mark.parametrize(
    ("typed", "resume"),
    [
        ("train 400 2d 0", ("--c",)),
        ("train 400 2d 0 --c", ()),
        ("train 400 2d 0 --val", ()),  # nnU-Net takes either
        ("nnUNetv2_train 400 2d 0", ("--c",)),
        ("predict -i a -o b -d 1", ("--continue_prediction",)),
        ("predict -i a -o b -d 1 --resume", ()),
        ("nnUNetv2_predict -i a -o b -d 1", ()),  # it would keep a file that is not whole
        ("pretrain -d 1 -o vit.safetensors", ("--continue",)),
        ("pretrain -d 1 -o vit.safetensors --continue", ()),
        ("convert KITS23 x", ()),  # goes on by itself
        ("evaluate a b", ()),
    ],
)
def test_a_job_that_is_started_again_goes_on(typed, resume):
    assert one(typed)[-1].resume == resume


def test_parts_of_a_conversion_are_followed_by_one_that_writes_what_sums_them_up():
    assert calls("convert KITS23 x -d 301", jobs=3) == [
        [f"KITS23 x -d 301 -num_parts 3 -part_id {part}" for part in range(3)], ["KITS23 x -d 301"]
    ]  # fmt: skip
    assert [job.name for job in one("convert KITS23 x", jobs=3)] == ["1-convert", "2-convert"]


def test_parts_of_a_prediction():
    assert calls("predict -i a -o b -d 1", jobs=2) == [[f"-i a -o b -d 1 -num_parts 2 -part_id {part}" for part in range(2)]]
    parts, last = one("predict -i a -o b -d 1 --stats", jobs=2)
    assert last.calls == (("-i", "a", "-o", "b", "-d", "1", "--stats", "--continue_prediction"),) and last.resume == ()
    assert len(parts.calls) == 2 and parts.resume == ("--continue_prediction",)


@pytest.mark.parametrize(
    ("typed", "resources", "processes"),
    [
        ("train 400 2d 0", {}, 0),
        ("train 400 2d 0", {"gpus": "1"}, 0),
        ("train 400 2d 0", {"gpus": "2"}, 2),
        ("train 400 2d 0", {"gpus": "a100:4"}, 4),
        ("train 400 2d 0", {"nodes": 2}, 1),
        ("train 400 2d 0", {"nodes": 2, "gpus": "4"}, 4),
        ("train 400 2d 0 -num_gpus 2", {"gpus": "2"}, 0),  # nnU-Net starts them
        ("nnUNetv2_train 400 2d 0", {"gpus": "2"}, 0),
        ("pretrain -d 1 -o vit.safetensors", {"gpus": "2"}, 2),
        ("predict -i a -o b -d 1", {"gpus": "2"}, 0),
    ],
)
def test_processes_that_train_together(typed, resources, processes):
    assert one(typed, **resources)[0].processes == processes


@pytest.mark.parametrize(
    ("typed", "options", "words"),
    [
        ("train 400 2d", {}, "train 400 2d: give DATASET CONFIGURATION FOLD"),
        ("train", {}, "give DATASET CONFIGURATION FOLD"),
        ("train 400 2d 0 x", {}, "fold x: give the numbers of folds"),
        ("train 400 2d 0 ²", {}, "fold ²: give the numbers of folds"),
        ("train 400 2d 0 1 0", {}, "folds 0 1 0: one is given twice"),
        ("train 400 2d 0", {"jobs": 2}, "argument jobs 2: a training has one job for each fold"),
        ("evaluate a b", {"jobs": 2}, "argument jobs 2: evaluate cannot share its work among jobs; convert, predict,"),
        ("convert A b -num_parts 2", {"jobs": 2}, "leave -num_parts out"),
        ("convert A b", {"jobs": 0}, "argument jobs 0: give 1 or more"),
        ("convert A b", {"nodes": 2}, "argument nodes 2: convert runs on one"),
        ("train 4 2d 0 -num_gpus 2", {"nodes": 2}, "argument nodes 2: train runs on one; only `train` without -num_gpus"),
        ("nnUNetv2_train 4 2d 0 -pretrained_weights w", {}, "cannot go on with such a training .* submit `train`"),
        ("train 4 2d 0", {"gpus": "many"}, "argument gpus many: give a number"),
        ("train 4 2d 0", {"gpus": "-1"}, "argument gpus -1: give a number"),
        ("train 4 2d 0", {"cpus": 0}, "argument cpus 0: give 1 or more"),
        ("train 4 2d 0", {"partition": "gpu\n#SBATCH --uid=0"}, "cannot be; leave it out"),
        ("train 4 2d 0", {"sbatch": {"mail-type": "END\n"}}, "cannot be; leave it out"),
    ],
)
def test_what_cannot_be_shared_out_is_told(typed, options, words):
    with pytest.raises(UserError, match=words):
        one(typed, **options)
