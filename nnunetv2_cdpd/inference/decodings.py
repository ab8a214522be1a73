"""Where a class begins in a label map: at a probability of 0.5, or where the highest Dice is expected (`decoding`)."""

HALF, DICE = "half", "dice"
DECODINGS = (HALF, DICE)
