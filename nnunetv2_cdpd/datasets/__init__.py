"""Datasets on disk: dataset.json, raw folders, predictions, label maps; what a model folder takes along when it is exported."""
