"""Pretrained weights of the frozen encoders: the user's choice, where they are found, how they are read."""
