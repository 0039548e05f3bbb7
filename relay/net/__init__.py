"""What reaches out into the network besides SMTP itself: DNS."""
