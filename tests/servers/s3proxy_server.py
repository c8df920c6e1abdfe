"""S3Proxy on a directory: honours If-None-Match on a plain put, refuses the checksums that clients send by
default."""

from pathlib import Path

from tests.servers import installed
from tests.servers.s3 import S3Endpoint, S3Server
from tidewind.embedded.processes import LOOPBACK, free_port

LOGBACK = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %-5level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="warn"><appender-ref ref="OUT"/></root>
</configuration>
"""


class S3ProxyServer(S3Server):
    def __init__(self, directory: Path) -> None:
        port = free_port()
        endpoint = S3Endpoint(
            url=f"http://{LOOPBACK}:{port}",
            access_key="tidewind-test",
            secret_key="tidewind-test-secret",
            checksums="when_required",
        )
        super().__init__("s3proxy", directory, port, endpoint)

    def _command(self) -> list[str | Path]:
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        settings = self.directory / "s3proxy.properties"
        settings.write_text(
            "\n".join(
                (
                    f"s3proxy.endpoint={self.endpoint.url}",
                    "s3proxy.authorization=aws-v2-or-v4",
                    f"s3proxy.identity={self.endpoint.access_key}",
                    f"s3proxy.credential={self.endpoint.secret_key}",
                    "jclouds.provider=filesystem-nio2",
                    f"jclouds.filesystem.basedir={data}",
                    "",
                )
            )
        )
        logging = self.directory / "logback.xml"
        logging.write_text(LOGBACK)
        return [
            installed.java(),
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"-Dlogback.configurationFile={logging}",
            "-cp",
            installed.jars("s3proxy"),
            "org.gaul.s3proxy.Main",
            "--properties",
            settings,
        ]
