"""Evaluation: scores of predictions, only where the source of a case annotates a class.

    matching    classes of a reference and of a prediction, matched by name
    metrics     the numbers of one case: overlap and surface metrics
    case        one case from its files, in a process of its own
    results     all cases: means per class and per source
    evaluate    a folder of predictions (`cdpd evaluate`)
    tables      results as text and CSV
    nnunet      nnU-Net's own format of results, and its function for the final validation
    report      results and pictures as one HTML page; pictures, palette
"""
