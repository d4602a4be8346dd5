# docker build -f deploy/docker/cpu.Dockerfile -t surveycnn-cpu:0.1.0 .     (from the root of the repository)
# docker run --rm -v "$PWD:/data" surveycnn-cpu:0.1.0 run-flow demo
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/surveycnn
# What is needed at run time, in the versions of the lock, which holds the tools of the tests too. The few packages without wheels
# are Python alone, so there is no compiler.
COPY pyproject.toml requirements.lock ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*p['dependencies'], *(line for extra in ('simulation', 'kubernetes', 's3') for line in p['optional-dependencies'][extra]), sep='\n')" > runtime.txt \
    && pip --python /opt/surveycnn/bin/python install --constraint requirements.lock -r runtime.txt
COPY README.md LICENSE ./
COPY surveycnn surveycnn
COPY catalogs catalogs
COPY flows flows
COPY deploy deploy
RUN pip --python /opt/surveycnn/bin/python install --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --uid 1000 --create-home surveycnn && install -d -o surveycnn -g surveycnn /data
COPY --from=build /opt/surveycnn /opt/surveycnn
# USER and HOME for programs that ask for them, under whatever number the container runs; telemetry is off.
ENV PATH=/opt/surveycnn/bin:$PATH USER=surveycnn HOME=/home/surveycnn \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["surveycnn"]
CMD ["--help"]
