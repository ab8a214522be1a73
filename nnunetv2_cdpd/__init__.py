"""nnunetv2_cdpd: CDPDNet for nnU-Net v2, one segmentation network from many partially labelled datasets.

A map of the package:
    classes, annotation      what the classes are, and which source annotates what (the `cdpd` block of dataset.json)
    loss, masked_sums        learn from it: BCE and Dice masked by annotation, in little memory
    sampling                 patches balanced over sources
    label_resampling         label maps of many classes rotated and zoomed at once
    online_metrics, progress pseudo Dice during training, of annotated classes only, per source
    distributed              training in several processes and on several nodes
    network, text            CDPDNet and its frozen encoders (DINOv2 for slices, CLIP for prompts)
    architecture             CDPDNet's entry in nnU-Net plans
    official                 the released checkpoint as a model folder
    inference                images in, label maps out: `Predictor` (also here) and `cdpd predict`
    conversion               public datasets, and one's own, as nnU-Net raw datasets
    dicom, exact             DICOM series as volumes, checked; the smallest type that holds an image's values
    jobs                     many cases in processes, resumable
    merge, evaluation, demo  datasets in, scores out, and a first minute that needs neither
    audit                    what may be wrong with datasets, and the same scan in two of them
    cleanup, report          anatomy applied to predictions; scores and pictures as a page
    link, doctor, cli        how nnU-Net finds us, what works here, and the `cdpd` command
    settings, host, online   the user's choices, replacing names in nnU-Net's modules, whether there is internet
    trainers, planners, dataset_conversion   nnU-Net's hooks and the facts of public datasets

Source: Wu, Xing, Yu, Shao, Gong: CDPDNet, arXiv 2505.18958.
"""

from typing import Any as _Any

__version__ = "0.1.0"


def __getattr__(name: str) -> _Any:
    """`Predictor`, imported when it is asked for: it brings torch and nnU-Net along."""
    if name == "Predictor":
        from nnunetv2_cdpd.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
