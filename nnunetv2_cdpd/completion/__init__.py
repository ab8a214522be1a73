"""Completion: a partly annotated dataset becomes an ordinary nnU-Net dataset, in which teachers say what sources do not.

Teachers are trained models. What they say is taken only where it is likely to be right; what stays uncertain becomes nnU-Net's
ignore label, never background. Real annotations stay as they are.

- settings: the filters, their levels, and how teachers predict
- teachers, seen, networks: models as teachers, which cases each of their folds was trained on, and what they say of an image
- openness: at which stored values which class may be added without unsaying what a source says
- votes: the probabilities of one class by all networks that tell of it
- filters: confidence, agreement, outlier (a file each) and what becomes of a structure by all of them; reliability decides before
  any prediction
- middle: the point of a patient from which places are told
- references: volume, place and shape of each class in the annotated cases, which outliers are compared with
- labelling: real annotation and teachers as one label map
- output: the folder, its dataset.json with what came from where, and the table of decisions
- run: all of it, case by case, resumable; summary: a line for each class at the end
"""
