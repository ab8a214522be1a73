"""Datasets on disk: dataset.json, raw folders, folders of predictions, label maps."""
