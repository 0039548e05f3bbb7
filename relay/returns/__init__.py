"""Mail that comes back for mail that has left: taken, understood, matched to its delivery, written down."""
