"""What runs in a receiver child: a listener whose door asks the master over the data channel."""
