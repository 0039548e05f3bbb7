"""Who gets no mail: addresses and domains, for all users or for one."""
