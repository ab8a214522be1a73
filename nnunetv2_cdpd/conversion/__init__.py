"""Public and local collections of cases -> ordinary nnU-Net raw datasets (`run.convert`, which `cdpd convert` calls).

declaration    SourceDataset: all that is known of a collection, as data (dataset_conversion/ holds the public ones)
registry, spec where declarations come from: the files of dataset_conversion/, or the user's YAML
layout         finds the cases in the downloaded folder, and says what is wrong with it before any work
grid           voxel grids: whether a label lies on the grid of its image, and how to put it there
nifti          image files, checked (DICOM series: nnunetv2_cdpd.volumes.dicom)
labels         label files, slices and masks, checked and remapped
intensity      where no header can be trusted: do the labelled voxels look right?
sides          left and right of a merged label, where that is unambiguous
case           one case, from its files to imagesTr and labelsTr
facts          dataset.json of the converted dataset
describe       a declaration in words
run, summary   all cases, in processes, resumable; what came of it
"""
