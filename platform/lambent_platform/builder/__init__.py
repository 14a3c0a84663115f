"""Slow and blocking work as RQ jobs: runtime images and dependency installs."""
