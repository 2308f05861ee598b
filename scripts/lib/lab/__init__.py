"""The lab: hosts on a LAN inside one real kernel, scenarios that use them, and a report of what was seen."""
