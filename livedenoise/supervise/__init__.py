"""Child processes: start, ready, heartbeat, ordered stop, death with the parent."""
