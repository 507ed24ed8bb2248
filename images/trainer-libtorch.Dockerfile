# The executors of jobs with the LibTorch kernels. Build it from the folder that scripts/images.sh --stage makes: docker build -f images/trainer-libtorch.Dockerfile dist/
# BASE: any image with glibc 2.36 or newer, libgcc and libstdc++. No step runs a program, so it needs no shell.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
FROM ${BASE}
ARG VERSION=dev
LABEL org.opencontainers.image.title="lockstep-trainer-libtorch" \
      org.opencontainers.image.description="Trains a CNN in lockstep with its peers, with PyTorch's kernels too" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# libtorch first: it is nearly all of the image and stays the same from one build to the next.
COPY lib/ /usr/local/lib/
# For HDFS with Kerberos, loaded only there.
COPY lib-krb5/ /usr/lib/x86_64-linux-gnu/
COPY bin/lockstep bin/lockstep-libtorch /usr/local/bin/
# By number, so that Kubernetes can see for itself that it is not root (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/lockstep"]
