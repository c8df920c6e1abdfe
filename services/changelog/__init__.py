"""The changelog: capture reads the clusters' logs into Kafka, archive makes segments of it in the store."""
