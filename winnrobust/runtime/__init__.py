"""Devices, processes, files, progress, provenance, random numbers, errors."""
