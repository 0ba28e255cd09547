"""The embedded data set: a drawn figure performing the 24 NATOPS aircraft handling signals."""
