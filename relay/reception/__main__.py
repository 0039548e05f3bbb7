"""`python -m relay.reception`: a receiver child. Only the master starts it."""

from relay.reception.main import main

main()
