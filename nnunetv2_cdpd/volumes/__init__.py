"""Volumes: where their voxels lie, and how they are read and written exactly."""
