"""The lab as virtual machines under Vagrant: the daemons as systemd units, one kernel a host. See vagrant/README.md."""
