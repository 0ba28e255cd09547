"""From a folder to a plan: videos, their clips, and the sides of splits."""
