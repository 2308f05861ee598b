"""What the shells of both daemons share: UDP ports, the pump of an engine, the control socket, signals and systemd."""
