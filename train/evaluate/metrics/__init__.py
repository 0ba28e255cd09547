"""Numbers about generated clips."""
