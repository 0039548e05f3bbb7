"""Users of the relay: how they log in, and how much they may send."""
