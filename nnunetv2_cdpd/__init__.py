"""nnunetv2_cdpd: CDPDNet for nnU-Net v2, one segmentation network from many partially labelled datasets.

The rooms by what they are about (docs/structure.md says what flows through them; imports go down only, see setup.cfg):

- errors, host, jobs, link: a user's mistake; what we exchange in nnU-Net; one writer, one batch; how nnU-Net finds us
- volumes, classes, licenses: where voxels lie, NIfTI and DICOM; the class table; what licenses allow
- annotation, datasets: which source annotates what; dataset.json, raw folders, predictions
- text, pretrained: prompts; weights of the frozen encoders
- network, released: CDPDNet, part by part; the paper's network and its checkpoint
- planning, training: CDPDNet in nnU-Net's plans; loss, sampling, the trainers' bodies
- portable: exported models (ONNX) where neither torch nor nnU-Net is
- inference, cleanup, evaluation: images in, label maps out: `Predictor` (also here); anatomy; scores of annotated classes
- conversion, same_scan: downloads to raw datasets; the same scan in two of them
- card: what a model was made from, and what nobody knows of it
- audit, merge: what may be wrong with datasets; many datasets to one
- pages, report, demo: HTML and pictures; scores as a page; a first minute that needs no data
- doctor, cli: what works here, and the `cdpd` command
- trainers, planners, dataset_conversion: nnU-Net's classes and the facts of public datasets, at the top of the project

Source: Wu, Xing, Yu, Shao, Gong: CDPDNet, arXiv 2505.18958.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_LATER = {"Predictor": "nnunetv2_cdpd.inference.predictor"}  # imported when asked for: it brings torch and nnU-Net along


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
