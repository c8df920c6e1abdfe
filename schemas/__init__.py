"""The wire contract of Tidewind: what is said on Kafka, in which words, on which topics.

Everything a client in any language needs is here and in the files generated from here (`json/`, `asyncapi.yaml`,
`examples/`). This package imports nothing else of Tidewind, so that it can be shipped to clients alone.
"""
