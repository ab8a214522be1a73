"""`python -m nnunetv2_cdpd.portable`."""

import sys

from nnunetv2_cdpd.portable.main import main

if __name__ == "__main__":
    sys.exit(main())
