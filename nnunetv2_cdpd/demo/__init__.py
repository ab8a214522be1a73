"""The main job on data that it makes itself: CT-like volumes, three partially labelled sources, nnU-Net's stock commands."""
