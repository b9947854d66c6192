# syntax=docker/dockerfile:1
# One file for the three images: `docker build --target auth-service .`, and the
# same with catalog-service and migrate.

FROM rust:1.95-slim-bookworm AS builder
# The C compiler is for aws-lc, which does the cryptography.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
ENV SQLX_OFFLINE=true CARGO_TERM_COLOR=always

COPY . .
# What cargo has downloaded and compiled stays in caches of the builder, so that a
# change of ours compiles our own crates only.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --locked --release \
        --package auth-service --package catalog-service --package ihuman-migrations \
    && mkdir /programs \
    && cp target/release/auth-service target/release/catalog-service target/release/migrate /programs/

FROM debian:bookworm-slim AS runtime
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# No account of the image: a number needs no entry, and a cluster can check it.
USER 65532:65532

FROM runtime AS migrate
COPY --from=builder /programs/migrate /usr/local/bin/
CMD ["migrate"]

FROM runtime AS auth-service
COPY --from=builder /programs/auth-service /usr/local/bin/
EXPOSE 50051
CMD ["auth-service"]

FROM runtime AS catalog-service
COPY --from=builder /programs/catalog-service /usr/local/bin/
EXPOSE 50052
CMD ["catalog-service"]
