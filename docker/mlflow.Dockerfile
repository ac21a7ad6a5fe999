# syntax=docker/dockerfile:1
# The MLflow server: PostgreSQL behind it, artifacts on S3, passwords from files.
#
#   docker build -f docker/mlflow.Dockerfile -t strsweep-mlflow:3.17.2 .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
FROM ${PYTHON_IMAGE}
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
COPY constraints.txt /tmp/constraints.txt
# Versions are those of constraints.txt. boto3 reaches S3, psycopg2 PostgreSQL, [auth] asks for passwords.
RUN pip install "mlflow[auth]" boto3 psycopg2-binary --constraint /tmp/constraints.txt \
    && useradd --uid 1000 --user-group --create-home --shell /usr/sbin/nologin mlflow
COPY --chmod=0755 docker/mlflow_server.sh docker/create_bucket.py /usr/local/bin/
USER 1000:1000
WORKDIR /home/mlflow
EXPOSE 5000
CMD ["mlflow_server.sh"]
