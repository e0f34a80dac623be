# likra serve on a CPU; once built it needs no network.
#
#   docker build -t likra .
#   docker run --rm -p 8000:8000 -v "$PWD/heads:/heads:ro" likra
#
# docs/serving.md says where the heads' base model comes from.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 likra
WORKDIR /src

# By itself: the largest layer, which a change of the code leaves as it is. From the index that has it without CUDA.
COPY constraints.txt ./
RUN pip install --no-cache-dir --no-deps --index-url https://download.pytorch.org/whl/cpu \
    "$(grep '^torch==' constraints.txt)"

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt '.[serve,gguf]'

USER 1000
WORKDIR /home/likra

ENV HF_HUB_OFFLINE=1 \
    PYTHONUNBUFFERED=1

EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["python", "-c", "import http.client, sys; server = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); server.request('GET', '/health'); sys.exit(server.getresponse().status != 200)"]

ENTRYPOINT ["likra", "serve", "--host", "0.0.0.0"]
CMD ["/heads"]
