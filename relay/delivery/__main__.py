"""`python -m relay.delivery`: a sender child. Only the master starts it."""

from relay.delivery.main import main

main()
