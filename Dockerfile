# The host side: everything but a board's own runtime (docs/jetson.md).
#   docker build -t squeezenas-tvm .
#   docker run --rm --user "$(id -u)" -e HOME=/tmp -v "$PWD:/work" squeezenas-tvm deploy squeezenas-lat-small --target local-cpu --out bundle
# PyTorch's CPU build is enough and saves gigabytes: --build-arg PIP_EXTRA_INDEX_URL=... or PIP_FIND_LINKS=...
FROM python:3.12-slim AS dev
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ g++-aarch64-linux-gnu git make \
    && rm -rf /var/lib/apt/lists/*

FROM dev
ARG PIP_EXTRA_INDEX_URL=
ARG PIP_FIND_LINKS=
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[cuda11]" && rm -rf /src
RUN useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["squeezenas-tvm"]
