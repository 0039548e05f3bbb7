"""Users of the relay and of its API: how they log in or show a key, what they may, and how much they may send."""
