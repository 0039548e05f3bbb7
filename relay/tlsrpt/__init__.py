"""TLS reports (RFC 8460): what TLS came to in a day, told to the domains that want to know."""
