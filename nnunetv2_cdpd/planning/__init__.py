"""Planning: CDPDNet's entry in nnU-Net plans."""
