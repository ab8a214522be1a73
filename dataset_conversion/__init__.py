"""Public datasets, one file each: what each annotates, under which license, and how it becomes an nnU-Net raw dataset."""
