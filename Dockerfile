# biodenoise in a container: the base install with its models, no network at run time.
#
#   docker build -t biodenoise .
#   docker run --rm --network none --user "$(id -u):$(id -g)" \
#     -v /archive/in:/in:ro -v /archive/out:/out biodenoise /in /out
#
# --build-arg EXTRAS='[cluster,s3]' adds what clusters and buckets need; the workers of a Dask
# cluster use the same image: --entrypoint dask ... worker tcp://scheduler:8786
FROM python:3.12-slim AS build
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE constraints.txt ./
COPY biodenoising ./biodenoising
ARG EXTRAS=""
RUN python -m venv /opt/biodenoise \
    && /opt/biodenoise/bin/pip install --no-cache-dir --disable-pip-version-check \
        -c constraints.txt ".${EXTRAS}"

FROM python:3.12-slim
COPY --from=build /opt/biodenoise /opt/biodenoise
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin biodenoise
# Any other user given by --user may run it as well: nothing is written but to the volumes and /tmp.
USER 1000:1000
ENV PATH="/opt/biodenoise/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /tmp
RUN ["biodenoise-models", "verify", "compact"]
ENTRYPOINT ["biodenoise"]
CMD ["--help"]
