"""How often a training saves its latest checkpoint by the clock, where it may be stopped at any time: CDPD_SAVE_MINUTES.

nnU-Net saves every 50 epochs, which may take longer than a cluster lets a job run: it would begin at the same epoch for ever.
"""

import os
import time

from nnunetv2_cdpd.errors import UserError

SAVE_MINUTES = "CDPD_SAVE_MINUTES"  # unset: nnU-Net's interval only


class SaveInterval:
    """The time since the latest checkpoint.

    Raises:
        UserError: The variable holds no number of minutes.
    """

    def __init__(self) -> None:
        given = os.environ.get(SAVE_MINUTES, "").strip()
        if given and not (given.isascii() and given.isdigit()):
            raise UserError(f"{SAVE_MINUTES}={given}: give minutes as a whole number, 0 to save after each epoch, or unset it")
        self.seconds = 60 * int(given) if given else None
        self.begin()

    def begin(self) -> None:
        """A checkpoint was saved, or the training begins."""
        self._since = time.monotonic()

    def is_over(self) -> bool:
        return self.seconds is not None and time.monotonic() - self._since >= self.seconds
