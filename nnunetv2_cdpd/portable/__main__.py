"""`python -m nnunetv2_cdpd.portable`."""

import sys

from nnunetv2_cdpd.portable.main import runner_main

if __name__ == "__main__":
    sys.exit(runner_main())
