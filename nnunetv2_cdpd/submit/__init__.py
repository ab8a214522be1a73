"""Work as jobs of a Slurm cluster: one job per fold, parts of the cases, one step after the other, started again where stopped.

- steps: `Step`: a command as it is typed, with what it asks of the cluster, and the jobs that it becomes
- environment: which variables a job takes along, and what must be there before it is submitted
- script: the text of a job, which is all that is submitted: no pickled function, so nothing runs that cannot be read
- slurm: sbatch, one step after the other
- here: the same scripts on this machine, in order
- record: which jobs were submitted, what has become of each, and why one was not run
"""
