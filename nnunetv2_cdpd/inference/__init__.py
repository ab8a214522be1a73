"""Prediction: CDPDNet on images, from files to label maps, in little memory.

- models: model folders: found, checked, read without executing code from them
- inputs: what to predict: a file, a folder, DICOM series
- host_predictor: nnU-Net's predictor, with what is made otherwise here
- preprocessing: nnU-Net's, with images resampled axis by axis
- predictor: the Python API
- selection: which classes, task and clean-up are wanted
- lower_stage: the label maps that a cascade reads beside the images
- sliding_window: where windows lie
- network: the network as prediction runs it: text terms once, tasks, only the heads and slices that are needed
- resampling, nesting, export: logits to label maps, tile by tile
- statistics: volume, mean intensity and place of every class
- prediction, formats, dicom_files, outputs: files out, and what is there already
- origins: of which images what is there was made
- onnx_export, onnx_graph, onnx_description, runner_file: a model as one file for `portable`, which runs without torch
- pipeline, run: a job of many cases: read ahead, exported behind, resumed, not stopped by bad ones
"""
