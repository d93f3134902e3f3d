# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM node:24-bookworm-slim AS pages
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY static static
COPY views/text views/text
RUN mkdir -p static/dist && node static/build.mjs

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
COPY --from=pages /src/static/dist static/dist
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
    -ldflags "-s -w -X main.version=$VERSION" -o /out/usr/local/bin/upload-service ./cmd/upload-service
# GitHub is asked over TLS. A new volume takes over the rights of /uploads,
# which are those of /tmp, so that every --user can put its data there.
RUN install -D -m 644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt && \
    install -d -m 1777 /out/uploads

FROM scratch
COPY --from=build /out /
ENV PATH=/usr/local/bin UPLOAD_ADDR=:8000 UPLOAD_DIR=/uploads
USER 65532:65532
VOLUME /uploads
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["upload-service", "healthcheck"]
ENTRYPOINT ["upload-service"]
CMD ["serve"]
