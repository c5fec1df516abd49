# Two images: `features` is the launcher and worker of the feature job, `trainer` runs all later stages.
# A third, `test`, is never pushed: `trainer` with what the tests need.
# How to build them: docs/images.md; why they are so: docs/decisions/cloud.md.

# Python's official image. The digest is of the list of all platforms, so it pins each of them;
# `make pin-base` looks up that of the newest build.
ARG BASE_IMAGE=docker.io/library/python:3.11.16-slim-bookworm@sha256:c425d915a89a6dcd3183b1797ad9bd8878caff5a417f6371c8df93c8ea8b727f
# Beam's own image, of the version in requirements.lock and the Python of the base; `make pin-base` adds
# its digest, and cloudbuild.yaml builds by the digest in any case.
ARG BEAM_IMAGE=docker.io/apache/beam_python3.11_sdk:2.77.0

FROM ${BEAM_IMAGE} AS beam

FROM ${BASE_IMAGE} AS packages
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# pyproject.toml refers to README.md and LICENSE. Empty files take their place here, so that a change of
# their text does not install everything again. For the same reason a .pth file leads to the project.
RUN touch README.md LICENSE \
    && python -m venv /opt/venv \
    && echo /opt/project > /opt/venv/lib/python3.11/site-packages/project.pth
# Newer versions of pip read PIP_BUILD_CONSTRAINT for packages that are built.
ENV PATH=/opt/venv/bin:${PATH} \
    PIP_CONSTRAINT=/src/requirements.lock \
    PIP_BUILD_CONSTRAINT=/src/requirements.lock \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

# pip's configuration, which selects the index, may be a secret of the build.
FROM packages AS features-packages
# hadolint ignore=DL3013 # the constraints pin the versions
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install '.[features,dask,ffmpeg]' \
    && pip uninstall --yes deep-embedded-music \
    && ln -s "$(python -c 'import imageio_ffmpeg as f; print(f.get_ffmpeg_exe())')" /opt/venv/bin/ffmpeg

FROM packages AS trainer-packages
# Without a GPU: --build-arg TRAINER_EXTRAS=train
ARG TRAINER_EXTRAS=train,gpu
# hadolint ignore=DL3013 # as above
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install ".[${TRAINER_EXTRAS},library,ffmpeg]" \
    && pip uninstall --yes deep-embedded-music \
    && ln -s "$(python -c 'import imageio_ffmpeg as f; print(f.get_ffmpeg_exe())')" /opt/venv/bin/ffmpeg

FROM packages AS project
COPY setup.py README.md LICENSE ./
COPY beam_features beam_features
COPY dem dem
COPY similarity similarity
COPY trainer trainer
COPY tuning tuning
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --no-deps --target /opt/project .

FROM ${BASE_IMAGE} AS runtime
# Caches and temporary files go to /tmp, so that the root can be read-only. PYTHONSAFEPATH keeps the
# working directory off Python's path, since any user may write there.
ENV PATH=/opt/venv/bin:/opt/project/bin:${PATH} \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib-config \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp

FROM runtime AS features
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=features-packages /opt/venv /opt/venv
COPY --from=project /opt/project /opt/project
# Otherwise Beam's boot makes another virtual environment at each start, which needs a writable root and
# lacks the packages of this one.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
ARG BASE_IMAGE
ARG BEAM_IMAGE
ARG CREATED=""
ARG REVISION=""
ARG SOURCE=""
ARG VERSION=""
LABEL beam.image=${BEAM_IMAGE} \
      org.opencontainers.image.title=deep-embedded-music-features \
      org.opencontainers.image.description="Launcher and Beam worker of the feature job" \
      org.opencontainers.image.base.name=${BASE_IMAGE} \
      org.opencontainers.image.created=${CREATED} \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.source=${SOURCE} \
      org.opencontainers.image.version=${VERSION}
USER 10001:10001
# Runners start workers by this entry point; a launcher overrides it with python -m beam_features.
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM runtime AS trainer
COPY --from=trainer-packages /opt/venv /opt/venv
COPY --from=project /opt/project /opt/project
# GKE mounts the driver in /usr/local/nvidia; other container runtimes read the NVIDIA_ variables.
ENV PATH=${PATH}:/usr/local/nvidia/bin \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all
ARG BASE_IMAGE
ARG CREATED=""
ARG REVISION=""
ARG SOURCE=""
ARG VERSION=""
LABEL org.opencontainers.image.title=deep-embedded-music-trainer \
      org.opencontainers.image.description="Training, classifiers, library, search, TensorBoard" \
      org.opencontainers.image.base.name=${BASE_IMAGE} \
      org.opencontainers.image.created=${CREATED} \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.source=${SOURCE} \
      org.opencontainers.image.version=${VERSION}
USER 10001:10001
CMD ["python", "-m", "trainer.train", "--help"]

FROM trainer AS test
USER 0:0
# hadolint ignore=DL3008 # this image is not kept
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The tests import their modules from the working directory.
ENV PYTHONSAFEPATH=""
# make looks for the installation in .venv.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --no-cache-dir -c requirements.lock --editable '.[features,dask,train,library,dev]' \
    && ln -s /opt/venv .venv \
    && touch .venv/installed \
    && chown -R 10001:10001 .
USER 10001:10001
CMD ["make", "test"]
