"""Used by every part of the library: files, progress, several processes, a client of the hub, embedded models."""
