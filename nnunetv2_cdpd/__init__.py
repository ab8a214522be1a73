"""nnunetv2_cdpd: CDPDNet for nnU-Net v2, one segmentation network from many partially labelled datasets.

A map of the package:
    classes, annotation      what the classes are, and which source annotates what (the `cdpd` block of dataset.json)
    loss, sampling           learn from it: loss masked by annotation, patches balanced over sources
    online_metrics           pseudo Dice during training, of annotated classes only
    network, text            CDPDNet and its frozen encoders (DINOv2 for slices, CLIP for prompts)
    architecture             CDPDNet's entry in nnU-Net plans
    merge, evaluation, demo  datasets in, scores out, and a first minute that needs neither
    link, doctor, cli        how nnU-Net finds us, what works here, and the `cdpd` command
    settings, host, online   the user's choices, replacing names in nnU-Net's modules, whether there is internet
    trainers, planners, dataset_conversion   nnU-Net's hooks and the facts of public datasets

Source: Wu, Xing, Yu, Shao, Gong: CDPDNet, arXiv 2505.18958.
"""

from pathlib import Path as _Path

__version__ = "0.1.0"

# trainers/, planners/ and dataset_conversion/ lie beside this folder in a clone; setup.cfg installs them inside it.
__path__ += [str(_Path(__file__).parents[1])] if (_Path(__file__).parents[1] / "setup.cfg").is_file() else []
