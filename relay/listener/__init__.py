"""SMTP listeners: the same in the master and in receiver children, who differ in the door they lead to."""
