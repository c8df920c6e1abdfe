"""Kafka: the adapter behind `tidewind.ports.bus`. The only package that knows aiokafka.

What others use: `connection.Connection` and `settings.BusSettings`; `publisher.KafkaPublisher`; `consumer.Consumer`;
`status_view.KafkaStatusView`; `admin.TopicAdmin`; `waiter.CommandClient`; `dead_letter_box.DeadLetterBox`; and, without
any connection, the decisions of `admission` and `dead_letters` and the arithmetic of `partitioner`.
"""
