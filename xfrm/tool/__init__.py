"""`python -m xfrm`: SAs, policies, events, counters and abilities of the kernel, for people and for programs.

The library does not need this package, nor click, which it is written with.
"""
