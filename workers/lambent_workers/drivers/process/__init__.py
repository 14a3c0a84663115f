"""The sandbox driver that needs no engine: processes of this machine, behind walls of the kernel's own."""

# Nothing is imported here: the launcher, which must stay small, is a part of this package.
