"""Who gets no mail: addresses and domains, from all senders or from one."""
