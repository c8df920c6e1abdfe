# One image for every service: `python -m services.<name>`, or `tidewind ...` for the command line.
FROM python:3.13-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/tidewind
WORKDIR /src
COPY requirements/run.lock requirements/run.lock
RUN /opt/tidewind/bin/pip install --no-cache-dir --require-hashes -r requirements/run.lock
COPY . .
RUN /opt/tidewind/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/tidewind --create-home tidewind
COPY --from=build /opt/tidewind /opt/tidewind
ENV PATH=/opt/tidewind/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER tidewind
WORKDIR /var/lib/tidewind
CMD ["tidewind", "--help"]
