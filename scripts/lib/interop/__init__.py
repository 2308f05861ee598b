"""Other makers' programs as peers: how they are run, the cases they are put through, and the page of results."""
