"""What runs in a sender child: finding hosts, sessions, and the child's end of the channel."""
