"""nnU-Net trainer classes of CDPDNet; nnunetv2_cdpd.link.find_class finds one by its name."""
