"""Extend a trained model by the classes of a further dataset: `extend_model` (what `cdpd extend` calls).

- joining: the labels of both as one annotation, in which all that the model knew keeps its value
- settings: the network with its extension, as plans say it
- preprocessing: the further dataset, with the model's plans and the joined values
- work: the folder that the extended model is made in, until it is whole
- run: all of it, resumable
"""

from nnunetv2_cdpd.extension.run import extend_model

__all__ = ["extend_model"]
