# Copyright (C) Conduit for NGINX authors
#
# Keys and tokens of the demo; sourced by demo/run and by the demo's container.
#
# The caller has set: dir, a folder with conduit/ (keys go there), www/ (for
# demo.json) and log/; org, issuer, audience; channels, how many there are;
# lifetime of tokens, in seconds; run_id; and has die_with LOG TEXT.

# shellcheck shell=bash disable=SC2154

base64url() {
    openssl base64 -A | tr '+/' '-_' | tr -d '='
}

make_keys() {
    local keys=$dir/conduit

    openssl rand -hex 32 > "$keys/publish.secret"
    openssl rand -hex 32 > "$keys/redis.password"

    openssl genrsa -out "$keys/gateway.key" 2048 2>"$dir/log/openssl.log" \
        || die_with "$dir/log/openssl.log" "openssl made no key"
    openssl rsa -in "$keys/gateway.key" -pubout -out "$keys/gateway.pem" \
        2>"$dir/log/openssl.log" \
        || die_with "$dir/log/openssl.log" "openssl wrote no public key"
}

# publish_token EXPIRES

publish_token() {
    local text

    text=$(printf '{"alg":"HS256","typ":"JWT"}' | base64url)
    text+=.$(printf '{"iss":"%s","aud":"%s","sub":"demo","org_id":%s,"exp":%s}' \
             "$issuer" "$audience" "$org" "$1" | base64url)

    printf '%s.%s' "$text" "$(printf %s "$text" \
        | openssl dgst -sha256 -hmac "$(cat "$dir/conduit/publish.secret")" \
                       -binary \
        | base64url)"
}

# gateway_token EXPIRES CHANNEL

gateway_token() {
    local text

    text=$(printf '{"alg":"RS256","typ":"JWT"}' | base64url)
    text+=.$(printf '{"iss":"%s","aud":"%s","org_id":%s,"channel_id":"%s",%s}' \
             "$issuer" "$audience" "$org" "$2" "\"exp\":$1" | base64url)

    printf '%s.%s' "$text" "$(printf %s "$text" \
        | openssl dgst -sha256 -sign "$dir/conduit/gateway.key" -binary \
        | base64url)"
}

uuid() {
    cat /proc/sys/kernel/random/uuid
}

# What the page needs: it appears whole or not at all.  "demo" tells one run of
# this script from another, whose tokens are of other keys.

write_tokens() {
    local expires channel i separator=

    expires=$(($(date +%s) + lifetime))

    {
        printf '{\n  "demo": "%s",\n  "org_id": %s,\n  "expires": %s,\n' \
               "$run_id" "$org" "$expires"
        printf '  "publish_token": "%s",\n  "channels": [' \
               "$(publish_token "$expires")"

        for ((i = 0; i < channels; i++)); do
            channel=$(uuid)
            printf '%s\n    {"channel_id": "%s",\n     "token": "%s"}' \
                   "$separator" "$channel" \
                   "$(gateway_token "$expires" "$channel")"
            separator=,
        done

        printf '\n  ]\n}\n'
    } > "$dir/www/demo.json.new"

    chmod 644 "$dir/www/demo.json.new"
    mv "$dir/www/demo.json.new" "$dir/www/demo.json"
}
