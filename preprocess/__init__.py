"""From video files to a store of first frames, motion vectors and residuals; CPU only."""
