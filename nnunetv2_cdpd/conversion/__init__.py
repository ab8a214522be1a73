"""Public and local collections of cases -> ordinary nnU-Net raw datasets (`run.convert`, which `cdpd convert` calls).

- declaration: SourceDataset: all that is known of a collection, as data (dataset_conversion/ holds the public ones)
- registry: the declarations of dataset_conversion/, by name
- declaration_file: the user's own, from a YAML
- describe: a declaration in words
- source_terms: what the license of a source allows, stated or known of a public dataset
- download, layout: the downloaded folder: which files are which case's, and what is wrong with it before any work
- read_labels: label files, slices and masks, checked and remapped
- intensity: where no header can be trusted: do the labelled voxels look right?
- sides: left and right of a merged label, where that is unambiguous
- job: all that decides what becomes of one case; what came of it
- case: one case, from its files to imagesTr and labelsTr
- dataset_facts: what the label maps hold, and dataset.json of the converted dataset
- plan, records: which cases there are to convert, and which any call has converted
- run, summary: all cases, in processes, resumable; what came of it
"""
