# Pinned by tag: a digest can only be looked up at the image registry, and what was never pulled must not be made up. For
# builds that are the same to the byte, add the digest you tested: python:3.11-slim-bookworm@sha256:...
FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1

WORKDIR /src
# What seldom changes comes first: the dependencies are a layer of their own.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/cachemgr \
    && /opt/cachemgr/bin/pip install --require-hashes -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.lock

COPY pyproject.toml README.md ./
COPY cachemgr ./cachemgr
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/wheels . \
    && /opt/cachemgr/bin/pip install --no-deps --no-index --find-links /opt/wheels cachemgr \
    && /opt/cachemgr/bin/pip check \
    && /opt/cachemgr/bin/pip uninstall --yes pip setuptools


FROM python:3.11-slim-bookworm

# Runs as root, as the platform's volumes want it. `--user cachemgr` works where they belong to that user.
RUN useradd --uid 10001 --create-home cachemgr

COPY --from=build /opt/cachemgr /opt/cachemgr
COPY config /usr/share/doc/cachemgr/config

ENV PATH=/opt/cachemgr/bin:$PATH PYTHONUNBUFFERED=1

HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9469/livez', timeout=4)"]

# `docker run --init` where other processes of yours run in here, too.
ENTRYPOINT ["cachemgr"]
CMD ["serve"]
