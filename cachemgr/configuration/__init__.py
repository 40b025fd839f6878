"""What can be configured, in which form, and from where: the sections and their types, the file, the environment and
the variables of other tools. `cachemgr.settings` makes one whole of them; nobody else looks in here.
"""
