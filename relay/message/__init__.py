"""Values: what a mail is made of. This package knows nothing of sockets, disks or zones."""
