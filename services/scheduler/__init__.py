"""The scheduler: the registry of clusters, their settings, what is due each day, and what retention lets go.

It decides and says so on `backups.v1`; it never touches a database.
"""
