"""What a refusal means: rules, how they are read, and how the first that fits is found. Pure."""
