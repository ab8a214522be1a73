"""A server that holds models and predicts what clients send: `cdpd serve`, and MONAI Label's interface for prediction.

    client ── guard ── receiving ── store ── waiting ── dispatcher ── worker ── predicting
              host,    onto the     on the   one at     the server's  a process  models, image
              origin,  disk, in     disk     a time     thread        of its own  to results
              token    limits

- run: a server from its start to its end
- limits, access: how much clients may take; who may ask
- application, guard, connections: FastAPI and uvicorn, with what every request passes and how long a client may wait
- jobs_api; monai_label, monai_images: the two interfaces; server: what both share
- receiving, forms, kinds, archive: uploads as they come, told by what is in them; zips of strangers
- store, waiting, images: jobs and images, on the disk and in memory
- dispatcher, worker, predicting: job after job, in a process that may die
"""
