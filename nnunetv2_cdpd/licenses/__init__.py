"""Licenses of data and weights: a table of what each allows (`table`), and how a text is read as one of them (`terms`)."""

from nnunetv2_cdpd.licenses.table import LICENSES, OWN, License
from nnunetv2_cdpd.licenses.terms import LONGEST, USES, Terms, bound_by, read_terms

__all__ = ["LICENSES", "LONGEST", "OWN", "USES", "License", "Terms", "bound_by", "read_terms"]
