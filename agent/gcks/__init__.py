"""gckd, the group controller and key server: membership, TEK schedule, store, and the shell over the GDOI engine."""
