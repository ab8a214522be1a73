"""Place: where in the body a class can lie, learned from the cases that annotate it; CT only.

The body coordinate of a case is a translation along each axis of the body, in mm: the place of a reference point that is the
same for all bodies. The image tells it, and so do the structures whose place is known; where they contradict each other, or
the image is unlike those that were learned from, nothing is said.

- axes: arrays turned so that their axes are those of the body
- body: what the axial slices of a CT look like, coarsely
- heights: how high a slice lies, from its looks; this also joins sources that share no class
- ends: where the classes of a label map begin and end along each axis
- references: the reference point of a case, with its spread, and what each class's ends keep from it
- model: all that was learned, as boxes in which the classes of a case can lie, and as JSON
- files: place.json, written and read
- images, learning: from a raw dataset (`cdpd place`)
- zones: of a patch, for training
- predicted, applied: where the classes of a predicted label map can lie, by its image and by each other

Source: the idea of MultiTalent's region loss (arXiv 2404.15718); the coordinate and the ranges are learned here.
"""
