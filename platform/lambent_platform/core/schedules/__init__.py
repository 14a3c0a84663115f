"""When schedules and rules are due, and what a firing of them sends. Pure."""
