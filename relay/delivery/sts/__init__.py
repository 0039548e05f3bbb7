"""MTA-STS: what domains say of how safe mail has to come to them (RFC 8461)."""
