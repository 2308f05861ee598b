# The part of pyroute2 0.9 that xfrm leans on, typed: pyroute2 has no py.typed.
