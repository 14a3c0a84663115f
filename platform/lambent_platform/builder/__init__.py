"""Jobs that block and take long: runtime images and dependency installs, taken from an RQ queue."""
