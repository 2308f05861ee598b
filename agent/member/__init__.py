"""gmd, the group member daemon: registers with key servers and keeps the kernel as the groups' policy wants it."""
