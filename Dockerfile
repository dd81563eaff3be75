# Both modules in Debian's NGINX, as a user without rights.
#
#     docker build -t conduit .
#
# docs/containers.md says what the environment sets.  BASE is any Debian, 12 or
# newer: the modules are built for the NGINX of that Debian and run in it.

ARG BASE=debian:12-slim


FROM ${BASE} AS build

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        binutils g++ gcc libc6-dev libhiredis-dev libjansson-dev \
        libprotobuf-c-dev libprotobuf-dev libssl-dev make nginx-dev pkgconf \
        protobuf-c-compiler zlib1g-dev

WORKDIR /src
COPY Makefile config ngx_conduit_publish_module.c ngx_conduit_gateway_module.c ./
COPY tools/check-abi tools/configure tools/
COPY auth/ auth/
COPY broker/ broker/
COPY base/ base/
COPY gateway/ gateway/
COPY http/ http/
COPY proto/ proto/
COPY publish/ publish/

RUN make all


FROM ${BASE} AS runtime

# envsubst is of gettext-base; what the modules are linked with is named by dpkg
# below, if one is missing
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gettext-base libjansson4 libprotobuf-c1 libstdc++6 nginx \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt \
        /var/log/dpkg.log /var/log/nginx/* /etc/nginx/sites-enabled/* \
    && mkdir -p /etc/nginx/conduit /etc/nginx/templates /run/nginx \
    && chown 33:33 /run/nginx

COPY --from=build /src/build/ngx_conduit_publish_module.so \
    /src/build/ngx_conduit_gateway_module.so /usr/lib/nginx/modules/

# hiredis is in the modules
COPY --from=build /usr/share/doc/libhiredis-dev/copyright \
    /usr/share/doc/conduit/hiredis.copyright
COPY LICENSE /usr/share/doc/conduit/

COPY contrib/docker/entrypoint contrib/docker/healthcheck /usr/local/bin/
COPY contrib/docker/templates/ /etc/nginx/templates/

# they load, with the libraries that are here
RUN printf '%s\n' 'load_module modules/ngx_conduit_publish_module.so;' \
        'load_module modules/ngx_conduit_gateway_module.so;' 'events {}' \
        > /tmp/nginx.conf \
    && nginx -t -e stderr -c /tmp/nginx.conf -g 'pid /tmp/nginx.pid;' \
    && rm -f /tmp/nginx.conf /tmp/nginx.pid

ENV CONDUIT_REDIS_URL=redis://redis:6379 \
    CONDUIT_PUBLISH_SECRET_FILE=/etc/nginx/conduit/publish.secret \
    CONDUIT_GATEWAY_KEY_FILE=/etc/nginx/conduit/gateway.pem \
    CONDUIT_ISSUER=sentry \
    CONDUIT_AUDIENCE=conduit \
    CONDUIT_PUBLISH_ORG_CLAIM=on \
    CONDUIT_GATEWAY_DRAIN=5s \
    CONDUIT_GATEWAY_PORT=8080 \
    CONDUIT_PUBLISH_PORT=8081 \
    CONDUIT_WORKERS=2 \
    CONDUIT_CONNECTIONS=8192 \
    CONDUIT_OPEN_FILES=10000 \
    CONDUIT_SHUTDOWN_TIMEOUT=30s

# www-data, as a number: "runAsNonRoot" of Kubernetes looks at numbers alone
USER 33:33

EXPOSE 8080 8081

# NGINX's graceful stop: clients are moved away within CONDUIT_GATEWAY_DRAIN,
# and publishes are completed.  An engine must give it that time.
STOPSIGNAL SIGQUIT

HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["healthcheck"]

ENTRYPOINT ["entrypoint"]
CMD ["nginx", "-e", "stderr", "-c", "/run/nginx/nginx.conf", \
     "-g", "daemon off;"]


# for compose.yml: makes keys and tokens for the page of the demo

FROM runtime AS demo

USER 0

RUN apt-get update \
    && apt-get install -y --no-install-recommends openssl \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && mkdir -p /demo && chown 33:33 /demo

COPY contrib/docker/demo /usr/local/bin/
COPY demo/tokens.sh /usr/local/share/conduit/
COPY README.md demo/index.html /usr/local/share/conduit/www/
COPY docs/ /usr/local/share/conduit/www/docs/
COPY samples/ /usr/local/share/conduit/www/samples/

USER 33:33
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=2s --timeout=5s CMD ["test", "-s", "/demo/www/demo.json"]
ENTRYPOINT ["demo"]
CMD []


FROM runtime AS conduit
