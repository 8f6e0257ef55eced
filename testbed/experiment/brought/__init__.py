"""What people already have: links, configuration files, bridge lines, programs (one file each).

A file in this folder that defines `FORMAT` reads one format (`brought.Format`). Each turns a text
into the name of a transport with parameters, and says in words what the text is, what the lab puts
in the place of its addresses and keys, and what cannot be kept.
"""
