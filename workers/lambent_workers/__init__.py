"""The worker: owns the execution environments of one machine."""
