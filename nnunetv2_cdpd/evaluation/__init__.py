"""Evaluation: scores of predictions, only where the source of a case annotates a class.

matching    classes of a reference and of a prediction, matched by name
metrics     the numbers of one case: overlap and surface metrics
protocols   whose rules the numbers follow, nnU-Net's or the paper's
case        one case from its files, in a process of its own
results     all cases: means per class and per source, with bootstrap intervals
compare     two models on the same cases, paired
labels      a dataset.json with its annotation, and nnU-Net's reader for its files
evaluate    a folder of predictions, or two (`cdpd evaluate`)
tables      results and comparisons as text, CSV and JSON
nnunet      nnU-Net's own format of results, and its function for the final validation
"""
