# The platform's own image: every role is this image with another command. Functions do not run in it; the images of
# their runtimes are in workers/runtimes.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/lambent
COPY requirements.lock .
RUN /opt/lambent/bin/python -m pip install --no-cache-dir --disable-pip-version-check -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY platform platform
COPY workers workers
COPY sdk sdk
RUN /opt/lambent/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM python:3.13-slim
RUN groupadd --gid 10001 lambent \
 && useradd --uid 10001 --gid lambent --no-create-home --home-dir /var/lib/lambent lambent \
 && install -d -o lambent -g lambent -m 0700 /var/lib/lambent
COPY --from=build /opt/lambent /opt/lambent
COPY deploy/entrypoint.sh /usr/local/bin/lambent-entrypoint
ENV PATH=/opt/lambent/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LAMBENT_DATA_DIR=/var/lib/lambent \
    LAMBENT_LOG_FORMAT=json
USER lambent
ENTRYPOINT ["lambent-entrypoint"]
CMD ["--help"]
