# winnrobust in a container; the CPU by default.
#
#   docker build -t winnrobust .
#   docker build -t winnrobust --build-arg TORCH=https://download.pytorch.org/whl/cu128 .    # CUDA
#   docker run --rm -v "$PWD:/work" winnrobust attack --model mine=my_nets:cnn --data digits.npz
#
# For CUDA add --gpus all; for code of strangers add --network none.
ARG BASE=python:3.12-slim
FROM ${BASE}

ARG TORCH=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir torch torchvision --index-url "${TORCH}"

WORKDIR /opt/winnrobust
COPY pyproject.toml README.md LICENSE ./
COPY winnrobust winnrobust
RUN pip install --no-cache-dir ".[onnx,hubs]"

RUN useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["winnrobust"]
CMD ["--help"]
