"""Prediction: CDPDNet on images, from files to label maps, in little memory.

inputs       what to predict: a file, a folder, DICOM series
predictor    the Python API, on top of nnU-Net's predictor
network      the network as prediction runs it: text terms once, tasks, only the heads and slices that are needed
resampling, nesting, export   logits to label maps, tile by tile
statistics   volume, mean intensity and place of every class
prediction, run   files out; a job of many cases that resumes and survives bad ones
"""
