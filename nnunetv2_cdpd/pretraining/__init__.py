"""Pretrain the slice encoder on CTs without labels: `pretrain` (what `cdpd pretrain` calls).

The recipe is DINOv2's (Oquab et al., arXiv 2304.07193): a student learns, from crops of a slice of which patches are masked, what
a teacher, its own moving average, says of other crops. Losses, heads and masks are lightly's.

- settings: what decides what comes out
- images: the CTs of raw datasets and folders
- slices: their slices that show a body, read once and kept for the length of the run
- views: crops and windows of a batch of slices
- learning: student, teacher, losses
- steps: one iteration after the other, each told by its number alone
- log: a row every so often, and whether the encoder collapses
- keeping: the checkpoint, and the file of weights
- run: all of it, resumable, in one process or several
"""

from nnunetv2_cdpd.pretraining.run import pretrain

__all__ = ["pretrain"]
