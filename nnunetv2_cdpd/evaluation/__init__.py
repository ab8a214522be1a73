"""Evaluation: scores of predictions, only where the source of a case annotates a class.

- matching: classes of a reference and of a prediction, matched by name
- metrics: the numbers of one case: overlap metrics, and with `surfaces` HD95 and surface Dice
- protocols: whose rules the numbers follow, nnU-Net's or the paper's
- case: one case from its files, in a process of its own
- folders: label maps with their dataset.json, and the cases that two folders share
- scoring: all cases of two folders, as a batch
- results: what came of it: means per class and per source, with intervals by `bootstrap`
- compare: two models on the same cases, paired
- tables: results and comparisons as text, CSV and JSON
- nnunet: nnU-Net's own format of results, summary.json
- evaluate: a folder of predictions, or two (`cdpd evaluate`): score, sum up, write
- final_validation, cross_validation: the same rules where nnU-Net itself scores
"""
