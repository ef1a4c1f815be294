# flowbridge in a container: `web` unless another command is given (worker, serve, apply ...). See compose.yaml.
FROM python:3.13-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/flowbridge
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY bridge bridge
COPY connectors connectors
COPY workers workers
# The lock file gives the versions; the development tools in it are not asked for.
RUN uv pip install --no-cache --python /opt/flowbridge/bin/python --constraint requirements.lock .

FROM python:3.13-slim
RUN useradd --system --create-home --home-dir /var/lib/flowbridge flowbridge
COPY --from=build /opt/flowbridge /opt/flowbridge
USER flowbridge
WORKDIR /var/lib/flowbridge
ENV PATH=/opt/flowbridge/bin:$PATH FLOWBRIDGE_HOST=0.0.0.0 FLOWBRIDGE_LOG_FORMAT=json
EXPOSE 8000
ENTRYPOINT ["flowbridge"]
CMD ["web"]
