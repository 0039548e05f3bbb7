"""Makes `twistd zonerelay` known. There is no __init__.py here, nor may there be: it would hide Twisted."""

from twisted.application.service import ServiceMaker

zonerelay = ServiceMaker("Zonerelay", "relay.tap", "An outbound mail relay.", "zonerelay")
