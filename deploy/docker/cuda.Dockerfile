# docker build -f deploy/docker/cuda.Dockerfile -t surveycnn-cuda:0.1.0 .     (from the root of the repository)
# docker run --rm --gpus all -v "$PWD:/data" surveycnn-cuda:0.1.0 run-flow demo --set cluster=local-cuda
# CUDA comes as wheels with TensorFlow; of the machine it takes the driver and the NVIDIA container toolkit.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/surveycnn
# The few packages without wheels are Python alone, so there is no compiler.
COPY requirements-cuda.lock ./
RUN pip --python /opt/surveycnn/bin/python install -r requirements-cuda.lock
COPY pyproject.toml README.md LICENSE ./
COPY surveycnn surveycnn
COPY catalogs catalogs
COPY flows flows
COPY deploy deploy
RUN pip --python /opt/surveycnn/bin/python install --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --uid 1000 --create-home surveycnn && install -d -o surveycnn -g surveycnn /data
COPY --from=build /opt/surveycnn /opt/surveycnn
# NVIDIA_VISIBLE_DEVICES is not set: on Kubernetes a pod that asks for no GPU would see all of them.
ENV PATH=/opt/surveycnn/bin:$PATH USER=surveycnn HOME=/home/surveycnn NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["surveycnn"]
CMD ["--help"]
