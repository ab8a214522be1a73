"""Portable: exported models (ONNX) on images, where neither torch nor nnU-Net is.

No module here, and of other rooms none that is imported here, needs more than numpy, onnxruntime, SimpleITK, filelock and the
standard library. So these files run beside a model on a machine where nothing of ours is installed (`inference.runner_file`
packs them). What they compute is not written a second time: the rooms above import it from here and from `volumes`.

- description: what an exported model says of itself: preprocessing, windows, decoding
- images, preprocessing: from files to what the network sees
- windows: weighted means over windows, layer by layer
- rivalry, labels: which class competes with which; logits to a label map
- runner, main: a model on an image; `python -m nnunetv2_cdpd.portable MODEL IMAGE LABELS`
"""
