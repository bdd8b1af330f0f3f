"""Measurements on disk: HDF5 that any netCDF reader opens; one writer, one file."""
