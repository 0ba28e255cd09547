"""From decoded frames of any size to square RGB frames."""
