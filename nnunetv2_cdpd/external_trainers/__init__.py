"""For nnU-Net's variable nnUNet_extTrainer; the folder is on that path, not imported as this package."""
