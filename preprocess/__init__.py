"""From video files to a store of first frames, motion vectors and residuals; CPU only."""

from dvdm import require_own

require_own("shared")
