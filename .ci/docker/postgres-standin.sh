#!/usr/bin/env bash
# postgres-standin.sh NAME: a local image with Debian's PostgreSQL that takes the official image's environment
# (POSTGRES_DB, POSTGRES_USER, POSTGRES_PASSWORD) and has its user and folder. An image that exists is left as it is.
set -euo pipefail
name=$1
docker image inspect "$name" >/dev/null 2>&1 && exit 0
ctx=$(mktemp -d)
trap 'rm -rf "$ctx"' EXIT
cat > "$ctx/entrypoint.sh" <<'S'
#!/bin/bash
set -euo pipefail
bin=$(echo /usr/lib/postgresql/*/bin)
PATH=$bin:$PATH
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --auth-host=scram-sha-256 --auth-local=trust >/dev/null
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -o '-c listen_addresses=' -w start >/dev/null
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -D "$PGDATA" -w stop >/dev/null
fi
exec postgres -c listen_addresses='*'
S
cat > "$ctx/Dockerfile" <<D
FROM debian:trixie-slim
ENV PGDATA=/var/lib/postgresql/data LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null \\
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql && mkdir -p "\$PGDATA" /var/run/postgresql \\
 && chown -R postgres:postgres /var/lib/postgresql /var/run/postgresql && chmod 700 "\$PGDATA" && chmod 3777 /var/run/postgresql \\
 && ln -s /usr/lib/postgresql/*/bin/pg_isready /usr/local/bin/
COPY --chmod=755 entrypoint.sh /usr/local/bin/
USER postgres
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["entrypoint.sh"]
LABEL local.standin="$name"
D
docker build -q -t "$name" "$ctx" >/dev/null
