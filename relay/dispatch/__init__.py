"""Due work and free capacity meet: permit, lease, offer; and what became of it."""
