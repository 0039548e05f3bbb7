"""The operator's commands, `zonerelay ...`: one file each."""
