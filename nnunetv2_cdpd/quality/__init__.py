"""Quality of predictions without their truth: learned from the cross-validation of a model, told of every case and class.

- sums, shapes, facts: what is measured of a case, block by block while it is predicted
- degraded, collect: the validation cases of every fold by the same way, also as degraded images, and the truth of them
- anatomy, features: facts against the training cases, as numbers that a regression sees
- regression, absent: a predicted Dice; whether a class was missed
- intervals, flags, probabilities: ranges of volumes, what to look at, probabilities that are right as often as they say
- fitting, calibrate, page: all of it from the records of validation cases, into the model folder
- model, files: a calibration, how it judges, and its file, which must be of the networks that predict
- predicting, tables: `cdpd predict --quality`, quality.json and quality.csv
"""
