# A container of kimberlite serve: one static binary, no shell, no root.
#
#   docker build --build-arg VERSION=$(git describe --tags --always) \
#     --build-arg COMMIT=$(git rev-parse HEAD) -t kimberlite .
#   docker run --init=false -p 5433:5433 -p 7443:7443 \
#     -v kimberlite:/var/lib/kimberlite -v ./tls:/etc/kimberlite/tls:ro kimberlite
#
# The certificate and its key are tls.crt and tls.key; user 65532 must be able
# to read them. Configure it by KIMBERLITE_<SECTION>_<KEY>, or by a file with
# `serve --config`.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
ARG COMMIT=
ARG TARGETARCH=amd64
RUN COMMIT="$COMMIT" scripts/build.sh "$TARGETARCH" /out/kimberlite "$VERSION" && mkdir -p /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/kimberlite /usr/local/bin/kimberlite
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /var/lib/kimberlite
COPY --from=build /src/LICENSE /src/NOTICE /usr/share/doc/kimberlite/
# Inside a container the network is the container's own.
ENV KIMBERLITE_PG_ADDR=0.0.0.0:5433 \
    KIMBERLITE_RPC_ADDR=0.0.0.0:7443 \
    KIMBERLITE_PG_TLS_CERT=/etc/kimberlite/tls/tls.crt \
    KIMBERLITE_PG_TLS_KEY=/etc/kimberlite/tls/tls.key
USER 65532:65532
VOLUME /var/lib/kimberlite
EXPOSE 5433 7443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
  CMD ["/usr/local/bin/kimberlite", "health"]
ENTRYPOINT ["/usr/local/bin/kimberlite"]
CMD ["serve"]
