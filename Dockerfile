# One target a service. None but acoustic-gpu holds torch or anything for a GPU.
#
#     docker build --target gateway --tag stenoflow/gateway:dev .          (all of them: make images)
#
# Without a registry: --build-context wheels=FOLDER, a folder made with `make wheels`. Behind a certificate authority
# of one's own: --secret id=ca,src=FILE. Another bundle than the one that is baked in: mount its folder below /models.

FROM scratch AS wheels

FROM python:3.11-slim AS builder
WORKDIR /build
COPY requirements/install.sh ./

# ---- packages: locked, with hashes; made anew only when a lock changes

FROM builder AS gateway-packages
COPY requirements/gateway.lock ./
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    ./install.sh --prefix /install -r gateway.lock

FROM builder AS features-packages
COPY requirements/features.lock requirements/silero-vad.lock ./
# The detector's weights alone: its package asks for torch, and is never imported.
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    ./install.sh --prefix /install -r features.lock && ./install.sh --prefix /install --no-deps -r silero-vad.lock

FROM builder AS acoustic-packages
COPY requirements/acoustic.lock ./
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    ./install.sh --prefix /install -r acoustic.lock

FROM builder AS acoustic-gpu-packages
COPY requirements/acoustic-gpu.lock ./
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    ./install.sh --prefix /install -r acoustic-gpu.lock

FROM builder AS decoder-packages
COPY requirements/decoder.lock ./
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    ./install.sh --prefix /install -r decoder.lock

FROM builder AS second-pass-packages
COPY requirements/second-pass.lock ./
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    ./install.sh --prefix /install -r second-pass.lock

# ---- what is in each image, as CycloneDX: docker build --target sboms --output build/sbom .

FROM builder AS tools
COPY requirements/tools.lock ./
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    ./install.sh -r tools.lock

FROM tools AS sbom
COPY requirements/*.lock ./
RUN mkdir /sbom && cat silero-vad.lock >>features.lock && \
    for image in gateway features acoustic acoustic-gpu decoder second-pass; do \
        cyclonedx-py requirements --output-reproducible --output-format JSON --no-validate \
            --output-file "/sbom/$image.cdx.json" "$image.lock" || exit 1; \
    done

FROM scratch AS sboms
COPY --from=sbom /sbom /

# ---- our own code, and the bundle in a layer of its own

FROM tools AS code
COPY LICENSE README.md pyproject.toml ./
COPY gateway-js gateway-js
COPY shared shared
COPY services services
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . && \
    pip install --no-cache-dir --no-deps --no-index --prefix /install dist/*.whl && \
    mkdir /bundle && mv /install/share/stenoflow/models /bundle/

# ---- what runs

FROM python:3.11-slim AS runtime
# One thread computes in each process (processes = cores). Written to is /tmp alone. What numba compiles is for any
# x86-64 processor: it is compiled in the build, and a start copies it to where numba looks. (For the processor at hand
# the search is no faster.)
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp STENOFLOW_MODELS=/models \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=passive NUMBA_CACHE_DIR=/tmp/numba NUMBA_CPU_NAME=generic
LABEL org.opencontainers.image.vendor="Stenoflow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="python:3.11-slim"
USER 10001:10001

FROM runtime AS gateway
COPY --from=gateway-packages /install /usr/local
COPY --from=sbom /sbom/gateway.cdx.json /usr/local/share/stenoflow/sbom.cdx.json
COPY --from=code /install /usr/local
ENV STENOFLOW_GATEWAY_PORT=8000
ARG REVISION=unknown
LABEL org.opencontainers.image.title="stenoflow-gateway" \
      org.opencontainers.image.description="Takes calls over WebSockets and brings their captions" \
      org.opencontainers.image.revision="$REVISION"
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-m", "stenoflow.runtime.probe", "STENOFLOW_GATEWAY_PORT"]
ENTRYPOINT ["stenoflow-gateway"]

FROM runtime AS features
COPY --from=features-packages /install /usr/local
COPY --from=sbom /sbom/features.cdx.json /usr/local/share/stenoflow/sbom.cdx.json
COPY --from=code /install /usr/local
ENV STENOFLOW_FEATURES_HEALTH_PORT=9000
ARG REVISION=unknown
LABEL org.opencontainers.image.title="stenoflow-features" \
      org.opencontainers.image.description="Turns the sound of calls into log-mel features of speech segments" \
      org.opencontainers.image.revision="$REVISION"
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-m", "stenoflow.runtime.probe", "STENOFLOW_FEATURES_HEALTH_PORT"]
ENTRYPOINT ["stenoflow-features"]

FROM runtime AS acoustic
COPY --from=acoustic-packages /install /usr/local
COPY --from=sbom /sbom/acoustic.cdx.json /usr/local/share/stenoflow/sbom.cdx.json
COPY --from=code /bundle /usr/local/share/stenoflow
COPY --from=code /install /usr/local
ENV STENOFLOW_ACOUSTIC_HEALTH_PORT=9000
ARG REVISION=unknown
LABEL org.opencontainers.image.title="stenoflow-acoustic" \
      org.opencontainers.image.description="Runs the acoustic model over the features of many calls at once" \
      org.opencontainers.image.revision="$REVISION"
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-m", "stenoflow.runtime.probe", "STENOFLOW_ACOUSTIC_HEALTH_PORT"]
ENTRYPOINT ["stenoflow-acoustic"]

# The same with torch, an ONNX Runtime for CUDA and NVIDIA's libraries from the wheels that torch asks for: the host
# brings driver and container toolkit, nothing else. Asked for a GPU it never falls back to the CPU.
FROM runtime AS acoustic-gpu
COPY --from=acoustic-gpu-packages /install /usr/local
COPY --from=sbom /sbom/acoustic-gpu.cdx.json /usr/local/share/stenoflow/sbom.cdx.json
COPY --from=code /bundle /usr/local/share/stenoflow
COPY --from=code /install /usr/local
ENV STENOFLOW_ACOUSTIC_HEALTH_PORT=9000 STENOFLOW_ACOUSTIC_DEVICE=cuda \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/lib/python3.11/site-packages/nvidia/cu13/lib:/usr/local/lib/python3.11/site-packages/nvidia/cudnn/lib
ARG REVISION=unknown
LABEL org.opencontainers.image.title="stenoflow-acoustic-gpu" \
      org.opencontainers.image.description="Runs the acoustic model on a GPU" \
      org.opencontainers.image.revision="$REVISION"
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-m", "stenoflow.runtime.probe", "STENOFLOW_ACOUSTIC_HEALTH_PORT"]
ENTRYPOINT ["stenoflow-acoustic"]

FROM runtime AS decoder-parts
COPY --from=decoder-packages /install /usr/local
COPY --from=sbom /sbom/decoder.cdx.json /usr/local/share/stenoflow/sbom.cdx.json
COPY --from=code /bundle /usr/local/share/stenoflow
COPY --from=code /install /usr/local

# Set up once as at a start, which runs every compiled function.
FROM decoder-parts AS decoder-compiled
RUN ["python", "-c", "import prometheus_client as p, stenoflow_decoder.__main__ as m; m.compose(m.DecoderSettings(), p.CollectorRegistry())"]

FROM decoder-parts AS decoder
COPY --from=decoder-compiled /tmp/numba /usr/local/share/stenoflow/compiled
ENV STENOFLOW_DECODER_HEALTH_PORT=9000
ARG REVISION=unknown
LABEL org.opencontainers.image.title="stenoflow-decoder" \
      org.opencontainers.image.description="Turns emissions into captions with word times and confidences" \
      org.opencontainers.image.revision="$REVISION"
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-m", "stenoflow.runtime.probe", "STENOFLOW_DECODER_HEALTH_PORT"]
ENTRYPOINT ["stenoflow-decoder"]

FROM runtime AS second-pass-parts
COPY --from=second-pass-packages /install /usr/local
COPY --from=sbom /sbom/second-pass.cdx.json /usr/local/share/stenoflow/sbom.cdx.json
COPY --from=code /bundle /usr/local/share/stenoflow
COPY --from=code /install /usr/local

FROM second-pass-parts AS second-pass-compiled
RUN ["python", "-c", "import prometheus_client as p, stenoflow_second_pass.__main__ as m; m.compose(m.SecondPassSettings(), p.CollectorRegistry())"]

FROM second-pass-parts AS second-pass
COPY --from=second-pass-compiled /tmp/numba /usr/local/share/stenoflow/compiled
ENV STENOFLOW_SECOND_PASS_HEALTH_PORT=9000
ARG REVISION=unknown
LABEL org.opencontainers.image.title="stenoflow-second-pass" \
      org.opencontainers.image.description="Hears each utterance again as a whole" \
      org.opencontainers.image.revision="$REVISION"
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-m", "stenoflow.runtime.probe", "STENOFLOW_SECOND_PASS_HEALTH_PORT"]
ENTRYPOINT ["stenoflow-second-pass"]
