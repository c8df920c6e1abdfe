"""Servers that run beside Tidewind for one user and a few minutes: broker and database of `tidewind demo`.

The tests start their real servers with the same pieces: `processes` runs any program as a child that never
outlives its parent, `mariadb` is a private MariaDB, `broker` is librdkafka's mock cluster.
"""
