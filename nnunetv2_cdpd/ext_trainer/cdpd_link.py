"""Forwards nnU-Net's look-ups of CDPDNet's trainers, planners and resampling to the package nnunetv2-cdpd.

Written by `cdpd link` (link file version 2), taken away by `cdpd link --remove`. It imports nothing before a name of
CDPDNet is asked for, and changes nothing for nnU-Net when nnunetv2-cdpd is not installed.
"""


def __getattr__(name):
    if name.startswith(("nnUNetTrainerCDPD", "nnUNetPlannerCDPD", "cdpd_resample")):
        try:
            from nnunetv2_cdpd.link import find_class
        except ImportError as error:
            if error.name not in ("nnunetv2_cdpd", "nnunetv2_cdpd.link"):
                raise
        else:
            return find_class(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
