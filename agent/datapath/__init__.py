"""Data paths: what carries the group's packets, reached by the difference of what should be and what is there."""
