# The executors. Build it from the folder that scripts/images.sh --stage makes: docker build -f images/trainer.Dockerfile dist/
# BASE: any image with glibc 2.36 or newer and libgcc. No step runs a program, so it needs no shell.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
FROM ${BASE}
ARG VERSION=dev
LABEL org.opencontainers.image.title="lockstep-trainer" \
      org.opencontainers.image.description="Trains a CNN in lockstep with its peers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# For HDFS with Kerberos, loaded only there.
COPY lib-krb5/ /usr/lib/x86_64-linux-gnu/
COPY bin/lockstep /usr/local/bin/lockstep
# By number, so that Kubernetes can see for itself that it is not root (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/lockstep"]
