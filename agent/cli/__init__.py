"""gmctl and gckctl: what an operator asks the daemons."""
