"""The operator's tool, `tidewind`.

It speaks only topics: commands are published and answered on Kafka, everything shown is read from status, event and
progress topics. `doctor`, `key`, `up` and `demo` also take a service's settings, because they look at or start what a
service needs. `bootstrap` is the only module here that names adapters; the rest sees the ports of `ports`.
"""
