"""The released CDPDNet: its checkpoint in terms of our network."""
