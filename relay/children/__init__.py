"""Child processes: spawn by fork and exec, watch, restart with back-off."""
