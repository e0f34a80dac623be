"""Scoring files of any size: read as a stream, scored part by part, gone on with where a run was killed."""
