"""Audit nnU-Net raw datasets before they are trained on: `audit_datasets` (what `cdpd audit` calls).

- label_facts: volume and place of what a label map holds
- cases: this and the image's fingerprint (same_scan), for one case
- statistics: volumes per class, geometry per source
- checks: what does not look as it should
- result: all of it, as text and as audit.json; page and pictures, as audit.html
- audit: all of it
"""
