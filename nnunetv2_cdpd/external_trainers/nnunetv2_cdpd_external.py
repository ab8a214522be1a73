"""Forwards nnUNetTrainerCDPD... to nnunetv2_cdpd.trainers when nnUNet_extTrainer names this folder."""


def __getattr__(name):
    from nnunetv2_cdpd.link import TRAINERS
    from nnunetv2_cdpd.lookup import find_class

    if name.startswith(TRAINERS.prefix):
        return find_class(TRAINERS.package, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
